/** A folder of mapped files that is not written: only the sizes are known. */
import { GROWTH_BYTES } from './areas.js';
import { MAPPED_MODE, type MappedOutput, type MemoryPlace } from './memory-folder.js';

export class DryFolder implements MemoryPlace {
  /** Pages of relatives cannot be compared with what is not written. */
  readonly canShare = false;

  constructor(readonly name: string) {}

  begin(path: string, areaBytes: number): MappedOutput {
    return {
      size: areaBytes + GROWTH_BYTES,
      mode: MAPPED_MODE,
      path,
      skipTo: () => {},
      write: () => {},
      copyFrom: (_place, _position, bytes) => bytes,
    };
  }

  endFile(): void {}
  async complete(): Promise<void> {}
  async commit(): Promise<void> {}
  async discard(): Promise<void> {}
}
