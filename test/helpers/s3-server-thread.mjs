// An S3 server in memory, in a thread of its own: the code under test blocks its own thread while it waits for an answer.
// See s3-server.ts. What the thread is asked to do comes as messages, and each is answered.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';

const buckets = new Map();
const uploads = new Map();
/** Of each request: method, path with query, and range. */
const log = [];

const md5 = (bytes) => createHash('md5').update(bytes).digest('hex');

class Refusal extends Error {
  constructor(status, code) {
    super(code);
    this.status = status;
    this.code = code;
  }
}

/**
 * How the next requests are answered, instead of rightly. A rule is for requests of a method whose path and query match a
 * pattern, so many of them, after some others. See Misbehaviour in s3-server.ts.
 */
let rules = [];

const orders = {
  misbehave: ({ rules: next }) => {
    rules = next.map((rule) => ({ after: 0, times: Number.POSITIVE_INFINITY, ...rule }));
  },
  bucket: ({ bucket }) => void buckets.set(bucket, new Map()),
  set: ({ bucket, key, bytes }) => void store(bucket, key, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)),
  get: ({ bucket, key }) => buckets.get(bucket)?.get(key)?.body,
  remove: ({ bucket, key }) => void buckets.get(bucket)?.delete(key),
  keys: ({ bucket }) => sortedKeys(bucket),
  uploads: () => uploads.size,
  log: () => log.splice(0),
  close: () => {
    server.closeAllConnections();
    server.close();
  },
};

parentPort.on('message', ({ id, order, ...rest }) => {
  parentPort.postMessage({ id, result: orders[order](rest) });
  if (order === 'close') parentPort.close();
});

function store(bucket, key, body, etag = `"${md5(body)}"`) {
  if (!buckets.has(bucket)) throw new Refusal(404, 'NoSuchBucket');
  buckets.get(bucket).set(key, { body, etag, modified: new Date() });
  return etag;
}

const sortedKeys = (bucket) =>
  [...(buckets.get(bucket)?.keys() ?? [])].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://server');
  const [bucket, ...rest] = url.pathname.slice(1).split('/');
  const key = decodeURIComponent(rest.join('/'));
  log.push({ method: request.method, url: request.url, range: request.headers.range });
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    const body = Buffer.concat(chunks);
    if (!buckets.has(bucket)) throw new Refusal(404, 'NoSuchBucket');
    const context = { request, response, bucket, key, query: url.searchParams, body };
    const rule = ruleFor(request);
    if (rule) {
      misbehaviours[rule.how](context, rule);
      return;
    }
    checkBody(request, body);
    answer(context);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const text =
      request.method === 'HEAD' ? '' : `<Error><Code>${error.code}</Code><Message>${error.code}</Message></Error>`;
    response.writeHead(error.status, { 'content-type': 'application/xml', 'content-length': text.length }).end(text);
  }
});

function ruleFor({ method, url }) {
  const rule = rules.find((one) => one.times > 0 && (one.method ?? method) === method && one.url.test(url));
  if (!rule) return undefined;
  if (rule.after-- > 0) return undefined;
  rule.times--;
  return rule;
}

/** The right answer, for those that change it: head and body. */
function rightly(context, change) {
  const { response } = context;
  const record = { status: 200, headers: {} };
  const recorder = {
    writeHead(status, headers) {
      Object.assign(record, { status, headers });
      return recorder;
    },
    end(body) {
      const {
        status,
        headers,
        body: changed,
        afterwards,
      } = { ...record, body, ...change(record, Buffer.from(body ?? '')) };
      response.writeHead(status, headers);
      if (afterwards === undefined) response.end(changed);
      else response.write(changed, afterwards);
    },
  };
  answer({ ...context, response: recorder });
}

const misbehaviours = {
  /** Any status, as an S3 error. */
  status: (_, { status, code }) => {
    throw new Refusal(status, code ?? 'Misbehaviour');
  },
  /** Does what was asked, and closes the connection without an answer. */
  silence: (context) => rightly(context, () => void context.response.destroy()),
  close: ({ response }) => void response.destroy(),
  /** Right headers, other bytes. */
  otherBytes: (context) =>
    rightly(context, (_, body) => ({ body: body.map((byte, i) => (i % 1000 === 0 ? byte ^ 1 : byte)) })),
  header: (context, { name, value }) =>
    rightly(context, ({ headers }) => {
      const changed = { ...headers, [name]: value };
      if (value === undefined) delete changed[name];
      return { headers: changed };
    }),
  /** The whole object instead of a range. */
  whole: (context) => get({ ...context, request: { ...context.request, method: 'GET', headers: {} } }),
  /** Half of a body. */
  cut: (context) =>
    rightly(context, (_, body) => ({
      body: body.subarray(0, body.length / 2),
      afterwards: () => context.response.destroy(),
    })),
  /** More than it says. */
  long: (context) =>
    rightly(context, ({ headers }, body) => ({
      headers: { ...headers, 'content-length': body.length + 5 },
      body: Buffer.concat([body, Buffer.from('extra')]),
    })),
  /** A list of these keys; without an end if so asked. */
  keys: ({ response }, { keys, endless }) => {
    const contents = keys.map(
      (key) =>
        `<Contents><Key>${xml(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"x"</ETag><Size>1</Size></Contents>`,
    );
    const more = endless ? '<IsTruncated>true</IsTruncated><NextContinuationToken>on</NextContinuationToken>' : '';
    sendXml(response, `<ListBucketResult>${more}${contents.join('')}</ListBucketResult>`);
  },
};

function checkBody({ headers }, body) {
  const sum = headers['x-amz-checksum-crc32'];
  if (sum === undefined) return;
  const own = Buffer.alloc(4);
  own.writeUInt32BE(crc32(body));
  if (own.toString('base64') !== sum) throw new Refusal(400, 'BadDigest');
}

function answer(context) {
  const { request, query, key } = context;
  switch (request.method) {
    case 'GET':
      if (key === '' && query.get('list-type') === '2') return list(context);
      return get(context);
    case 'HEAD':
      return get(context);
    case 'PUT':
      return query.has('partNumber') ? putPart(context) : put(context);
    case 'POST':
      return query.has('uploads') ? createUpload(context) : completeUpload(context);
    case 'DELETE':
      if (query.has('uploadId')) {
        if (!uploads.delete(query.get('uploadId'))) throw new Refusal(404, 'NoSuchUpload');
      } else buckets.get(context.bucket).delete(key);
      return context.response.writeHead(204).end();
    default:
      throw new Refusal(405, 'MethodNotAllowed');
  }
}

function get({ request, response, bucket, key }) {
  const object = buckets.get(bucket).get(key);
  if (!object) throw new Refusal(404, 'NoSuchKey');
  const { headers } = request;
  if (headers['if-match'] !== undefined && headers['if-match'] !== object.etag)
    throw new Refusal(412, 'PreconditionFailed');
  if (headers['if-none-match'] === object.etag) return response.writeHead(304).end();
  const size = object.body.length;
  const common = { etag: object.etag, 'last-modified': object.modified.toUTCString(), 'accept-ranges': 'bytes' };
  const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
  if (!range) {
    response.writeHead(200, { ...common, 'content-length': size });
    return response.end(request.method === 'HEAD' ? undefined : object.body);
  }
  const from = Number(range[1]);
  const last = Math.min(range[2] === '' ? size - 1 : Number(range[2]), size - 1);
  if (from > last) throw new Refusal(416, 'InvalidRange');
  const part = object.body.subarray(from, last + 1);
  response.writeHead(206, {
    ...common,
    'content-length': part.length,
    'content-range': `bytes ${from}-${last}/${size}`,
  });
  return response.end(request.method === 'HEAD' ? undefined : part);
}

function list({ response, bucket, query }) {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter');
  const most = Math.min(Number(query.get('max-keys') ?? 1000), 1000);
  const after = query.get('continuation-token') ?? '';
  const contents = [];
  const prefixes = new Set();
  let next;
  let last = '';
  for (const key of sortedKeys(bucket)) {
    if (!key.startsWith(prefix) || Buffer.compare(Buffer.from(key), Buffer.from(after)) <= 0) continue;
    const end = delimiter ? key.indexOf(delimiter, prefix.length) : -1;
    const group = end < 0 ? undefined : key.slice(0, end + delimiter.length);
    if (group !== undefined && (prefixes.has(group) || after.startsWith(group))) continue;
    if (contents.length + prefixes.size === most) {
      next = last;
      break;
    }
    last = group === undefined ? key : `${group}\uffff`;
    if (group !== undefined) prefixes.add(group);
    else contents.push(key);
  }
  const objects = contents.map((key) => {
    const { body, etag, modified } = buckets.get(bucket).get(key);
    return `<Contents><Key>${xml(key)}</Key><LastModified>${modified.toISOString()}</LastModified><ETag>${xml(etag)}</ETag><Size>${body.length}</Size></Contents>`;
  });
  const groups = [...prefixes].map((group) => `<CommonPrefixes><Prefix>${xml(group)}</Prefix></CommonPrefixes>`);
  const token = next === undefined ? '' : `<NextContinuationToken>${xml(next)}</NextContinuationToken>`;
  sendXml(
    response,
    `<ListBucketResult><IsTruncated>${next !== undefined}</IsTruncated>${token}${objects.join('')}${groups.join('')}</ListBucketResult>`,
  );
}

function checkAbsent({ request, bucket, key }) {
  if (request.headers['if-none-match'] === '*' && buckets.get(bucket).has(key))
    throw new Refusal(412, 'PreconditionFailed');
}

function put(context) {
  checkAbsent(context);
  const { response, bucket, key, body } = context;
  response.writeHead(200, { etag: store(bucket, key, body), 'content-length': 0 }).end();
}

function createUpload({ response, bucket, key }) {
  const id = `upload-${uploads.size + 1}-${Math.random().toString(36).slice(2)}`;
  uploads.set(id, { bucket, key, parts: new Map() });
  sendXml(response, `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`);
}

function uploadOf({ query, bucket, key }) {
  const upload = uploads.get(query.get('uploadId'));
  if (upload?.bucket !== bucket || upload.key !== key) throw new Refusal(404, 'NoSuchUpload');
  return upload;
}

function putPart(context) {
  const { request, response, query, body } = context;
  const etag = `"${md5(body)}"`;
  uploadOf(context).parts.set(Number(query.get('partNumber')), { body, etag });
  const sum = request.headers['x-amz-checksum-crc32'];
  response.writeHead(200, { etag, 'content-length': 0, ...(sum ? { 'x-amz-checksum-crc32': sum } : {}) }).end();
}

/** Every part but the last has at least so many bytes in S3. */
const LEAST_PART_BYTES = 5 * 1024 * 1024;

function completeUpload(context) {
  const { response, bucket, key, query, body } = context;
  const upload = uploadOf(context);
  checkAbsent(context);
  const named = [...body.toString().matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part]) => ({
    number: Number(/<PartNumber>(\d+)</.exec(part)[1]),
    etag: /<ETag>(.*?)</.exec(part)[1].replaceAll('&quot;', '"'),
  }));
  const parts = named.map(({ number, etag }) => {
    const part = upload.parts.get(number);
    if (!part || part.etag !== etag) throw new Refusal(400, 'InvalidPart');
    return part;
  });
  if (parts.length === 0) throw new Refusal(400, 'MalformedXML');
  if (named.some(({ number }, i) => i > 0 && number <= named[i - 1].number)) throw new Refusal(400, 'InvalidPartOrder');
  if (parts.slice(0, -1).some((part) => part.body.length < LEAST_PART_BYTES)) throw new Refusal(400, 'EntityTooSmall');
  uploads.delete(query.get('uploadId'));
  const sums = Buffer.concat(parts.map(({ etag }) => Buffer.from(etag.slice(1, -1), 'hex')));
  const etag = store(bucket, key, Buffer.concat(parts.map((part) => part.body)), `"${md5(sums)}-${parts.length}"`);
  sendXml(response, `<CompleteMultipartUploadResult><ETag>${xml(etag)}</ETag></CompleteMultipartUploadResult>`);
}

const xml = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

function sendXml(response, text) {
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${text}`);
  response.writeHead(200, { 'content-type': 'application/xml', 'content-length': body.length }).end(body);
}

server.listen(0, '127.0.0.1', () => parentPort.postMessage({ id: 0, result: server.address().port }));
