/** Elements. Text from a dump becomes the text of a node, never markup. */
import { oneLine } from '../../printable.js';

type Child = Node | string | undefined;

/** An element with these properties and children. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  for (const child of children) {
    if (child !== undefined) made.append(typeof child === 'string' ? oneLine(child) : child);
  }
  return made;
}

/** A square in one of the colors of the map, for legends. */
export function swatch(lane: string, color: number): HTMLElement {
  const made = element('span', { className: 'swatch', ariaHidden: 'true' });
  made.style.background = `var(--${lane}-${color})`;
  return made;
}
