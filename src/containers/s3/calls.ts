/** The calls of the worker, but for ranges: questions for objects and lists, and everything that writes. */
import type * as Sdk from '@aws-sdk/client-s3';
import { s3Name } from './address.js';
import type { Client } from './client.js';
import { failureOf, S3Failure, statusOf } from './failure.js';
import type { Calls, ObjectInfo, Upload } from './protocol.js';

/** Most keys that one answer has. Source: the API reference of Amazon S3, ListObjectsV2. */
const KEYS_PER_ANSWER = 1000;
/** A server must not keep us busy with answers that have nothing in them. */
const SPARE_ANSWERS = 100;

type Waiting<Name extends keyof Calls> = (...args: Parameters<Calls[Name]>) => Promise<ReturnType<Calls[Name]>>;
export type StoreCalls = { [Name in Exclude<keyof Calls, 'fetch' | 'cancel' | 'attach'>]: Waiting<Name> };

/** @param onSent told of the bytes of bodies that the server has taken */
export function storeCalls(sdk: typeof Sdk, client: Client, onSent: (bytes: number) => void): StoreCalls {
  const upload = ({ bucket, key, uploadId }: Upload) => ({ Bucket: bucket, Key: key, UploadId: uploadId });
  const place = ({ bucket, key }: { bucket: string; key: string }) => ({ Bucket: bucket, Key: key });
  return {
    async head(address) {
      const file = s3Name(address);
      try {
        const answer = await client.send(new sdk.HeadObjectCommand(place(address)));
        return objectInfo(file, address.key, answer.ContentLength, answer.ETag, answer.LastModified);
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw failed(error, file, 'look at the object');
      }
    },

    async list({ bucket, prefix, delimiter, most }) {
      const file = s3Name({ bucket, key: prefix });
      const objects: ObjectInfo[] = [];
      const prefixes: string[] = [];
      let token: string | undefined;
      for (let answers = 0; answers < most / KEYS_PER_ANSWER + SPARE_ANSWERS; answers++) {
        const answer = await client
          .send(
            new sdk.ListObjectsV2Command({
              Bucket: bucket,
              Prefix: prefix,
              MaxKeys: KEYS_PER_ANSWER,
              ...(delimiter === undefined ? {} : { Delimiter: delimiter }),
              ...(token === undefined ? {} : { ContinuationToken: token }),
            }),
          )
          .catch((error) => {
            throw failed(error, file, 'list the objects');
          });
        for (const { Key = '', Size, ETag, LastModified } of answer.Contents ?? []) {
          if (!Key.startsWith(prefix))
            throw wrong(file, `the server lists a key elsewhere: ${JSON.stringify(Key.slice(0, 200))}`);
          objects.push(objectInfo(s3Name({ bucket, key: Key }), Key, Size, ETag, LastModified));
        }
        for (const { Prefix = '' } of answer.CommonPrefixes ?? []) prefixes.push(Prefix);
        if (objects.length + prefixes.length > most) {
          throw new S3Failure({ code: 'LIMIT', what: `expected at most ${most} objects, found more`, file });
        }
        token = answer.NextContinuationToken;
        if (!answer.IsTruncated) return { objects, prefixes };
        if (token === undefined)
          throw wrong(file, 'the list of objects is not complete, and the server does not say how it goes on');
      }
      throw wrong(file, 'the list of objects does not end');
    },

    async put({ bucket, key, bytes, ifAbsent }) {
      const condition = ifAbsent ? { IfNoneMatch: '*' } : {};
      const command = new sdk.PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes, ...condition });
      const answer = await client.send(command).catch((error) => {
        throw refused(error, s3Name({ bucket, key }), 'write the object');
      });
      onSent(bytes.length);
      return { etag: answer.ETag ?? '' };
    },

    async remove(address) {
      await client.send(new sdk.DeleteObjectCommand(place(address))).catch((error) => {
        throw failed(error, s3Name(address), 'remove the object');
      });
    },

    async createUpload(address) {
      const file = s3Name(address);
      const command = new sdk.CreateMultipartUploadCommand({ ...place(address), ChecksumAlgorithm: 'CRC32' });
      const { UploadId } = await client.send(command).catch((error) => {
        throw failed(error, file, 'write the object');
      });
      if (UploadId === undefined) throw wrong(file, 'the server gives no name to the upload');
      return { ...address, uploadId: UploadId };
    },

    async uploadPart({ upload: to, number, bytes }) {
      const file = s3Name(to);
      const command = new sdk.UploadPartCommand({
        ...upload(to),
        PartNumber: number,
        Body: bytes,
        ChecksumAlgorithm: 'CRC32',
      });
      const answer = await client.send(command).catch((error) => {
        throw failed(error, file, `write part ${number} of the object`);
      });
      onSent(bytes.length);
      if (answer.ETag === undefined) throw wrong(file, `the server gives no ETag to part ${number}`);
      return { number, etag: answer.ETag, crc32: answer.ChecksumCRC32 };
    },

    async completeUpload({ upload: to, parts, ifAbsent }) {
      const list = parts.map(({ number, etag, crc32 }) => ({
        PartNumber: number,
        ETag: etag,
        ...(crc32 === undefined ? {} : { ChecksumCRC32: crc32 }),
      }));
      const command = new sdk.CompleteMultipartUploadCommand({
        ...upload(to),
        MultipartUpload: { Parts: list },
        ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
      });
      const answer = await client.send(command).catch((error) => {
        throw refused(error, s3Name(to), 'complete the object');
      });
      return { etag: answer.ETag ?? '' };
    },

    async abortUpload(to) {
      await client.send(new sdk.AbortMultipartUploadCommand(upload(to))).catch((error) => {
        if (statusOf(error) !== 404) throw failed(error, s3Name(to), 'remove the parts of the object');
      });
    },
  };
}

function objectInfo(
  file: string,
  key: string,
  size: number | undefined,
  etag: string | undefined,
  modified: Date | undefined,
): ObjectInfo {
  if (!Number.isSafeInteger(size) || (size as number) < 0)
    throw wrong(file, 'the server does not say how large the object is');
  // Without it another object could come in the middle of this one.
  if (etag === undefined || etag === '') throw wrong(file, 'the server gives no ETag');
  return { key, size: size as number, etag, modifiedMs: modified?.getTime() || 0 };
}

const failed = (error: unknown, file: string, action: string): S3Failure =>
  new S3Failure(failureOf(error, { file, action }));

/** A conditional write: the object is there by now. */
function refused(error: unknown, file: string, action: string): S3Failure {
  if (statusOf(error) !== 412) return failed(error, file, action);
  return new S3Failure({ code: 'OUTPUT_EXISTS', what: 'expected no object, found one', file });
}

const wrong = (file: string, what: string): S3Failure => new S3Failure({ code: 'DAMAGED', what, file });
