/** What was written, for the reports. */
export interface Written {
  files: number;
  /** Bytes of all regular files. */
  bytes: number;
  /** Pages that are lazy in a pagemap, and in no file of the directory. */
  holePages: number;
  /** Whether pages were taken out of the dump that no lazy restore can fetch. */
  isPartial: boolean;
  /** Whether the link to a parent dump leads nowhere from the new place. */
  parentMissing: boolean;
}
