/** The image and the picture in the terminal: names from a dump are text in them. */
import { describe, expect, it } from 'vitest';
import { svgMap } from '../../src/map/svg.js';
import { terminalMap } from '../../src/map/terminal.js';
import { sampleMap } from '../helpers/maps.js';

const HOSTILE = '</text><script>alert(1)</script>"\'&\x1b[2J\u202e\ud800\ufffe';

describe('an SVG image', () => {
  it('has hostile names as text only', () => {
    const svg = svgMap(sampleMap({ processes: 1, name: HOSTILE }), HOSTILE);
    expect(svg).not.toMatch(/<script|<\/text><s/);
    expect(svg).toContain(
      '&lt;/text&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&apos;&amp;\\u001b[2J\\u202e\ufffd\ufffd',
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: XML must not have them
    expect(svg).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
    const opened = svg.match(/<(?:svg|text|style|title)\b/g)?.length;
    expect(svg.match(/<\/(?:svg|text|style|title)>/g)).toHaveLength(opened ?? 0);
  });

  it('loads nothing, and has few columns where there are many processes', () => {
    const svg = svgMap(sampleMap({ processes: 60, runs: 400, hasContent: true }), 'many');
    expect(svg).not.toMatch(/href|url\(|@import/);
    expect(svg.length).toBeLessThan(4 * 2 ** 20);
  });
});

describe('a picture in the terminal', () => {
  const lines = (columns: number, hasColors: boolean) => [
    ...terminalMap(sampleMap({ name: HOSTILE, hasContent: true }), { columns, hasColors }),
  ];

  it('is as wide as the terminal, within reason', () => {
    for (const columns of [1, 40, 80, 5000]) {
      const most = Math.max(40, Math.min(200, columns));
      const widest = Math.max(
        ...lines(columns, false)
          .slice(0, 12)
          .map(({ length }) => length),
      );
      expect(widest).toBe(most);
    }
  });

  it('has no control characters of names, and no colors where there are none', () => {
    expect(lines(80, false).join('')).not.toContain('\x1b');
    const colored = lines(80, true).join('');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the colors
    const rest = colored.replace(/\x1b\[(?:0|[34]8;5;\d+)m/g, '');
    expect(rest).not.toContain('\x1b');
    expect(rest).toContain('▀');
  });
});
