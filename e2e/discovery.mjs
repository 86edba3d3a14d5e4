// As much of an API server of Kubernetes as "kubectl apply --dry-run=client" asks: which kinds there are, and that no object is
// there yet. Says "listening at 127.0.0.1:PORT".
import { createServer } from 'node:http';

const ANSWERS = {
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: [
      {
        name: 'batch',
        versions: [{ groupVersion: 'batch/v1', version: 'v1' }],
        preferredVersion: { groupVersion: 'batch/v1', version: 'v1' },
      },
    ],
  },
  '/api/v1': { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: 'v1', resources: [] },
  '/apis/batch/v1': {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: 'batch/v1',
    resources: [
      { name: 'jobs', singularName: 'job', namespaced: true, kind: 'Job', verbs: ['create', 'get', 'patch'] },
    ],
  },
};

const server = createServer(({ url }, answer) => {
  const found = ANSWERS[url.replace(/\?.*/, '')];
  answer.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
  answer.end(
    JSON.stringify(found ?? { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 }),
  );
}).listen(0, '127.0.0.1', () => console.log(`listening at 127.0.0.1:${server.address().port}`));
