/** Explores a dump as the command does, without the command line. */
import { expect } from 'vitest';
import { Images } from '../../src/dump/images.js';
import { DumpError } from '../../src/errors.js';
import { TextOutput } from '../../src/explore/output.js';
import { directory } from '../helpers/dump-files.js';
import { openFiles } from '../helpers/temp.js';

export type Explorer = (images: Images, print: (text: string) => void, options: { pageSize: number }) => void;

/** The bytes that come out, one character each. */
export function bytesOf(dump: string, explore: Explorer, pageSize = 4096): string {
  const files = directory(dump);
  const pieces: Buffer[] = [];
  const output = new TextOutput((bytes) => pieces.push(Buffer.from(bytes)));
  try {
    explore(new Images(files), output.print, { pageSize });
    output.flush();
    return Buffer.concat(pieces).toString('latin1');
  } finally {
    files.close();
    expect(openFiles(dump)).toEqual([]);
  }
}

export const textOf = (dump: string, explore: Explorer, pageSize?: number): string =>
  Buffer.from(bytesOf(dump, explore, pageSize), 'latin1').toString();

export const dataOf = (dump: string, explore: Explorer, pageSize?: number): unknown =>
  JSON.parse(textOf(dump, explore, pageSize));

/** Code and message of the error, without its hint. */
export function errorOf(dump: string, explore: Explorer): string {
  try {
    textOf(dump, explore);
  } catch (error) {
    if (error instanceof DumpError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'none';
}
