/**
 * The client of Amazon, set up as people know it from aws-cli: credentials, region and endpoint come from the environment and
 * from profiles. It is an optional dependency, and is loaded in the worker alone.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type * as Sdk from '@aws-sdk/client-s3';
import { systemReason } from '../../errors.js';
import { S3Failure } from './failure.js';
import type { S3Settings } from './protocol.js';

export type Client = InstanceType<typeof Sdk.S3Client>;

/** Attempts of one request, with growing pauses between them. AWS_MAX_ATTEMPTS sets another number. */
const MAX_ATTEMPTS = 5;
/** A server that does not answer ends an attempt. */
const CONNECT_MS = 10_000;
export const IDLE_MS = 30_000;
/** For a part of an upload at a slow server. */
const ANSWER_MS = 120_000;

/** A region has to be in a signature. Other stores take any. */
const ANY_REGION = 'us-east-1';

/** Loads the client. */
export function loadSdk(): typeof Sdk {
  // An announcement for those who update the client.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  try {
    return createRequire(import.meta.url)('@aws-sdk/client-s3') as typeof Sdk;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    throw new S3Failure({
      code: 'UNSUPPORTED',
      what: 's3:// needs the package @aws-sdk/client-s3, which is not installed',
      hint: 'npm install @aws-sdk/client-s3 in the place where pagepipe is',
    });
  }
}

/** A client for these settings. `onAttempt` is called for each request that goes out. */
export async function openClient(
  { S3Client }: typeof Sdk,
  { endpointUrl, region, profile }: S3Settings,
  onAttempt: () => void,
): Promise<Client> {
  const { env } = process;
  // As aws-cli has it.
  env['AWS_REGION'] ??= env['AWS_DEFAULT_REGION'];
  if (env['AWS_REGION'] === undefined) delete env['AWS_REGION'];
  if (profile !== undefined) env['AWS_PROFILE'] = profile;
  const attempts = Number(env['AWS_MAX_ATTEMPTS']);
  const common = {
    maxAttempts: Number.isSafeInteger(attempts) && attempts > 0 ? attempts : MAX_ATTEMPTS,
    followRegionRedirects: true,
    // Ranges have none; blocks of a dump have sums of their own.
    responseChecksumValidation: 'WHEN_REQUIRED' as const,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      socketTimeout: IDLE_MS,
      requestTimeout: ANSWER_MS,
      throwOnRequestTimeout: true,
      // Waits for a socket are no news: there are more ranges than sockets.
      socketAcquisitionWarningTimeout: 2 ** 30,
      ...certificates(env['AWS_CA_BUNDLE']),
    },
  };
  const probe = new S3Client(common);
  const endpoint = endpointUrl ?? (await probe.config.serviceConfiguredEndpoint?.());
  const url = endpoint === undefined ? undefined : checkedUrl(String(endpoint));
  const known = region ?? (await probe.config.region().catch(() => undefined)) ?? (url && ANY_REGION);
  probe.destroy();
  const client = new S3Client({
    ...common,
    ...(known === undefined ? {} : { region: known }),
    // Names of buckets are no host names at other servers.
    ...(url === undefined ? {} : { endpoint: url, forcePathStyle: true }),
  });
  // Inside of the retries.
  client.middlewareStack.add(
    (next) => (request) => {
      onAttempt();
      return next(request);
    },
    { step: 'deserialize', name: 'countAttempts', priority: 'low' },
  );
  return client;
}

/** Throws {@link S3Failure} for what is no URL of a server. Its text is not repeated: it may have a password. */
function checkedUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return text;
  const what = 'the endpoint URL: expected http://HOST[:PORT] or https://HOST[:PORT], without a user';
  throw new S3Failure({ code: 'SYSTEM', what });
}

function certificates(path: string | undefined) {
  if (path === undefined || path === '') return {};
  try {
    return { httpsAgent: { ca: readFileSync(path), keepAlive: true, maxSockets: 50 } };
  } catch (error) {
    throw new S3Failure({ code: 'SYSTEM', what: `AWS_CA_BUNDLE: ${systemReason(error)}`, file: path });
  }
}
