/** What is in a dump, wherever it is. */
import { type Inspection, type InspectOptions, inspect } from '../inspect/inspect.js';
import { inspectionPages } from '../inspect/wanted-pages.js';
import { type DumpSource, openDumpFiles, type SourceOptions } from './open-dump.js';

/**
 * Looks into a dump in any container. Of one that can only be read from front to back, it holds the images and the few pages
 * that it looks at.
 * @throws {DumpError} as `openDumpFiles` does, and if there are no processes. What else cannot be read is in `gaps`.
 */
export async function inspectDump(
  source: DumpSource,
  options: InspectOptions & SourceOptions = {},
): Promise<Inspection> {
  const { sections = [], pageSize } = options;
  const pages = inspectionPages({ env: sections.includes('env'), pageSize });
  const files = await openDumpFiles(source, { ...options, pages, outside: true });
  try {
    return inspect(files, options);
  } finally {
    files.close();
  }
}
