/** The page: names from a dump cannot get out of their place, and nothing can be loaded. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { htmlMap } from '../../src/map/html.js';
import type { MapPage } from '../../src/map/model.js';
import { sampleMap } from '../helpers/maps.js';

const HOSTILE = '</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"\'&\u2028\u202e';
const MIB = 2 ** 20;

const elements = (html: string, tag: string) =>
  [...html.matchAll(new RegExp(`<${tag}\\b([^>]*)>(.*?)</${tag}>`, 'gs'))].map(([, attributes = '', text = '']) => ({
    attributes,
    text,
  }));

describe('the page', () => {
  it('has hostile names as data only', () => {
    const page: MapPage = { title: HOSTILE, maps: [{ name: HOSTILE, map: sampleMap({ name: HOSTILE }) }] };
    const html = htmlMap(page);
    expect(html.match(/<script/g)).toHaveLength(2);
    expect(html).not.toMatch(/<img|<!--|alert\(1\)<\/script>/);
    const [data, script] = elements(html, 'script');
    expect(data?.attributes).toBe(' type="application/json" id="data"');
    expect(data?.text).not.toContain('<');
    expect(JSON.parse(data?.text ?? '')).toEqual(JSON.parse(JSON.stringify(page)));
    expect(script?.attributes).toBe('');
  });

  it('allows its own script and style, and nothing else', () => {
    const html = htmlMap({ title: 'a', maps: [{ name: 'a', map: sampleMap() }] });
    const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html)?.[1];
    const hash = (text: string | undefined) =>
      `'sha256-${createHash('sha256')
        .update(text ?? '')
        .digest('base64')}'`;
    const [style] = elements(html, 'style');
    const [, script] = elements(html, 'script');
    expect(policy?.split('; ')).toEqual([
      "default-src 'none'",
      `script-src ${hash(script?.text)}`,
      `style-src ${hash(style?.text)}`,
      "base-uri 'none'",
      "form-action 'none'",
    ]);
    expect(html).not.toMatch(/\b(?:src|href)=|https?:|url\(|@import|sourceMappingURL/);
  });

  it('stays under 2 MiB', () => {
    const map = sampleMap({ processes: 20, runs: 8000, hasContent: true, hasChanges: true });
    expect(map.runs).toBeGreaterThan(80_000);
    expect(htmlMap({ title: 'large', maps: [{ name: 'large', map }] }).length).toBeLessThan(2 * MIB);
  });
});
