import type { S3Settings } from '../containers/s3/protocol.js';
import type { Arguments } from './command.js';

/** Where the object store of s3:// names is. */
export const s3Settings = ({ flags }: Arguments): S3Settings => ({
  endpointUrl: flags['endpointUrl'] as string | undefined,
});
