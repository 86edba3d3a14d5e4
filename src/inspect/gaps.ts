/** What an inspection could not read. It goes on without it, and says so. */
import { DumpError } from '../errors.js';
import { findingOf } from '../verify/findings.js';

export interface Gap {
  /** The image or file. */
  file: string;
  message: string;
}

/** Runs a part of an inspection; undefined if the dump does not allow it. */
export type Attempt = <T>(file: string, part: () => T) => T | undefined;

/** @param gaps is given what is missing, each once */
export function attempting(gaps: Gap[]): Attempt {
  const known = new Set<string>();
  return (file, part) => {
    try {
      return part();
    } catch (error) {
      if (!(error instanceof DumpError) || error.code === 'CHANGED') throw error;
      const { message } = findingOf(error, '', file);
      const gap = { file: error.file ?? file, message };
      const key = JSON.stringify(gap);
      if (!known.has(key)) gaps.push(gap);
      known.add(key);
      return undefined;
    }
  };
}
