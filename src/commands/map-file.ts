/** The file of a map: it appears complete or not at all. It shows names of files, and so is as private as the dump. */
import { AtomicFile } from '../io/atomic-file.js';

export function writeMapFile(out: string, text: string): void {
  const file = new AtomicFile(out);
  try {
    file.write(Buffer.from(text));
    file.commit();
  } finally {
    file.discard();
  }
}
