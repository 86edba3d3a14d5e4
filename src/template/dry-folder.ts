/** A folder of mapped files that is not written: only the sizes are known. */
import type { MappedOutput, MemoryPlace } from './memory-folder.js';

const NOTHING: MappedOutput = {
  size: 0,
  mode: 0,
  path: '',
  skipTo: () => {},
  write: () => {},
  copyFrom: (_place, _position, bytes) => bytes,
};

export class DryFolder implements MemoryPlace {
  /** Pages of relatives cannot be compared with what is not written. */
  readonly canShare = false;

  constructor(readonly name: string) {}

  begin(): MappedOutput {
    return NOTHING;
  }

  endFile(): void {}
  async complete(): Promise<void> {}
  async commit(): Promise<void> {}
  async discard(): Promise<void> {}
}
