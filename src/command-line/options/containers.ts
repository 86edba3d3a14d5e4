/** Options about what is read, and what is written. */
import { FILE, type Option } from './option.js';

export const CONTAINER_OPTIONS = {
  // What is read.
  from: {
    type: 'string',
    value: ['directory', 'tar', 'oci', 'stream', 'shards'],
    help: 'what DUMP is. Separate several shards by commas',
    fallback: 'found by its first bytes',
  },
  shardFds: {
    type: 'string',
    short: 's',
    value: '10,11',
    help: 'descriptors of the shards of criu-image-streamer; DUMP is then -, and OUT is left out',
  },
  pageSize: {
    type: 'number',
    value: 'BYTES',
    help: 'page size of the dumped machine, such as 4096 or 64k',
    fallback: 'found in the dump; 4096 where nothing shows it',
  },
  incomplete: {
    type: 'boolean',
    help: 'read what can be read of a damaged dump, or of one whose pages pagepipe filter has taken out so that nothing can fetch them',
  },
  buffer: {
    type: 'number',
    value: 'MIB',
    help: 'memory for what must wait or be held; with k, M, G or T at its end in bytes',
    fallback: '32',
  },
  spillDir: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'folder of an unnamed file for what exceeds --buffer',
    fallback: "the system's temporary folder",
  },
  maxBytes: {
    type: 'number',
    value: 'BYTES',
    help: 'limit on the decompressed size of an archive, such as 10G',
    fallback: '2^53',
  },
  endpointUrl: {
    type: 'string',
    value: 'URL',
    help: 'the server of s3:// names, such as http://127.0.0.1:9000, where it is not the one of Amazon',
    fallback: 'AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or the profile',
  },
  coldFrom: {
    type: 'string',
    value: ['directory', 'tar', 'oci', 'stream', 'shards'],
    help: 'what COLD is, as --from for HOT',
    fallback: 'found by its first bytes',
  },

  // What is written.
  to: {
    type: 'string',
    value: ['directory', 'tar', 'oci', 'shards'],
    help: 'what to write. - is stdout and needs --to. Separate several shards by commas',
    fallback:
      'by the name: an OCI archive for .oci.tar, tar for .tar, .tar.gz, .tgz, .tar.zst and .tzst, otherwise directory',
  },
  compress: {
    type: 'string',
    value: ['gzip', 'zstd', 'none'],
    help: 'compress the archive, or what is sent',
    fallback: 'by the name of the archive; none without one',
  },
  prefix: {
    type: 'string',
    value: 'FOLDER',
    help: 'folder of the images in the archive, such as checkpoint. The files of an archive keep theirs',
    fallback: 'the top',
  },
  blockSums: {
    type: 'boolean',
    word: 'sums',
    help: 'add the SHA-256 of every block of 1 MiB, which is compared whenever the dump is read',
    fallback: 'if DUMP has such sums',
  },
  cold: { type: 'string', value: ['-'], help: 'write COLD as a page stream to stdout, for pagepipe write' },
  force: { type: 'boolean', help: 'replace what is there, if it is a dump or a file' },
  ifAbsent: {
    type: 'boolean',
    help: 'if all that would be written is there and complete, do nothing and exit with 0; of an incomplete one say so',
  },
  dryRun: { type: 'boolean', help: 'write nothing, only say what would be written' },
  in: { ...FILE, short: 'i', help: 'the file to read', fallback: 'stdin' },
  out: {
    ...FILE,
    short: 'o',
    help: 'the file to write; it appears complete or not at all. - is stdout',
    fallback: 'stdout; of edit the image itself; of map a picture in the terminal',
  },
} as const satisfies Record<string, Option>;
