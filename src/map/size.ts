/** How many bytes a map has in its page. */
import type { MemoryMap } from './model.js';

/** JSON in an element that is not run: it ends no script element, and begins no comment in one. */
export const jsonInScript = (value: unknown): string => JSON.stringify(value).replaceAll('<', '\\u003c');

export const sizeInPage = (value: unknown): number => Buffer.byteLength(jsonInScript(value));

/** Bytes of the names of files, which are all that may be long in a map. */
export const sizeOfFiles = ({ spaces }: MemoryMap): number =>
  sizeInPage(spaces.flatMap(({ areas }) => areas.map(({ file }) => file)));
