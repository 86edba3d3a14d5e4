/**
 * The map as one HTML page with all that it needs. It loads nothing, and its policy forbids it to. The data are JSON in an
 * element that is not run; the page makes text of them, never markup. Only the page's own script and style may be used,
 * which is checked by their hashes.
 */
import { createHash } from 'node:crypto';
import { pageScript, pageStyle } from '../generated/map-page.js';
import type { MapPage } from './model.js';
import { COLORS } from './palette.js';
import { jsonInScript } from './size.js';

export function htmlMap(page: MapPage): string {
  const style = `${colors()}${pageStyle}`;
  const policy = [
    "default-src 'none'",
    `script-src '${hashOf(pageScript)}'`,
    `style-src '${hashOf(style)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Memory map</title>
<style>${style}</style>
</head>
<body>
<noscript>This page draws its picture with a script.</noscript>
<main id="map"></main>
<script type="application/json" id="data">${jsonInScript(page)}</script>
<script>${pageScript}</script>
</body>
</html>
`;
}

const hashOf = (text: string): string => `sha256-${createHash('sha256').update(text).digest('base64')}`;

/** The palette as variables of CSS. */
function colors(): string {
  const variables = (theme: 'light' | 'dark') =>
    Object.entries(COLORS)
      .flatMap(([lane, list]) => list.map((color, i) => `--${lane}-${i}:${color[theme]};`))
      .join('');
  return `:root{${variables('light')}}@media screen and (prefers-color-scheme:dark){:root{${variables('dark')}}}`;
}
