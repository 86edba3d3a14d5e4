/**
 * An object store for tests that need no more than a store: the server of the tests, or with PAGEPIPE_S3_ENDPOINT=URL another
 * one, such as MinIO or moto. That one is reached with the AWS_* of the environment, if they are set.
 */
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { vi } from 'vitest';
import { closeS3Bridges } from '../../src/containers/s3/bridge.js';
import { ENVIRONMENT, putFolder, S3Server } from './s3-server.js';

export type ObjectStore = Pick<S3Server, 'stubEnvironment' | 'set' | 'setFolder' | 'keys' | 'close'>;

/** A store with one bucket, which must not be there yet. To be closed after all tests. */
export async function objectStore(bucket: string): Promise<ObjectStore> {
  const endpoint = process.env['PAGEPIPE_S3_ENDPOINT'];
  if (endpoint === undefined || endpoint === '') return S3Server.start(bucket);
  const environment = {
    ...ENVIRONMENT,
    AWS_REGION: 'us-east-1',
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('AWS_'))),
    AWS_ENDPOINT_URL: endpoint,
  };
  const client = new S3Client({
    endpoint,
    forcePathStyle: true,
    region: environment.AWS_REGION,
    credentials: {
      accessKeyId: environment.AWS_ACCESS_KEY_ID,
      secretAccessKey: environment.AWS_SECRET_ACCESS_KEY,
    },
  });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  const set: ObjectStore['set'] = (to, key, bytes) =>
    client.send(new PutObjectCommand({ Bucket: to, Key: key, Body: bytes }));
  const keys: ObjectStore['keys'] = async (from) => {
    const found: string[] = [];
    for (let token: string | undefined; ; ) {
      const answer = await client.send(
        new ListObjectsV2Command({ Bucket: from, ...(token === undefined ? {} : { ContinuationToken: token }) }),
      );
      for (const { Key = '' } of answer.Contents ?? []) found.push(Key);
      token = answer.NextContinuationToken;
      if (token === undefined) return found;
    }
  };
  return {
    stubEnvironment() {
      for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    },
    set,
    setFolder: (to, prefix, folder) => putFolder(folder, (name, bytes) => set(to, `${prefix}${name}`, bytes)),
    keys,
    async close() {
      await closeS3Bridges();
      for (const key of await keys(bucket)) await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
      await client.send(new DeleteBucketCommand({ Bucket: bucket }));
      client.destroy();
    },
  };
}
