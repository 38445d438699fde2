/** pods/proxy and services/proxy: HTTP to a program behind a node's tunnel. */
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import { startApi, type Api } from './api-harness.ts';
import { fakeCluster } from './fake-cluster.ts';
import { processNode } from './process-node.ts';

const base = '/api/v1/namespaces/default';

interface Heard {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

async function opened(
  t: ExecutionContext,
): Promise<{ readonly api: Api; readonly port: number; readonly heard: Heard[] }> {
  const heard: Heard[] = [];
  const web = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      heard.push({ method: request.method, url: request.url, headers: request.headers, body });
      if (request.url === '/moved') response.setHeader('location', '/there?x=1');
      response.statusCode = request.url === '/moved' ? 302 : 200;
      response.setHeader('content-type', 'text/x-web');
      response.end('from the pod');
    });
  });
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  t.teardown(() => web.close());
  const { port } = web.address() as AddressInfo;
  const cluster = fakeCluster();
  await cluster.serveNode('n1', processNode(), new AbortController().signal);
  const metadata = (name: string) => ({ name, namespace: 'default' });
  const containers = [{ name: 'c', ports: [{ containerPort: port }] }];
  cluster.seed(resources.pods, { metadata: metadata('p'), spec: { nodeName: 'n1', containers } });
  const ports = [
    { name: 'http', port: 80 },
    { name: 'dead', port: 81 },
  ];
  cluster.seed(resources.services, { metadata: metadata('web'), spec: { ports } });
  const targetRef = { kind: 'Pod', name: 'p' };
  cluster.seed(resources.endpointSlices, {
    metadata: { ...metadata('web-1'), labels: { 'kubernetes.io/service-name': 'web' } },
    ports: [{ name: 'http', port }],
    endpoints: [
      { addresses: ['10.0.0.9'], conditions: { ready: false }, targetRef: { kind: 'Pod', name: 'absent' } },
      { addresses: ['10.0.0.1'], conditions: { ready: true }, targetRef },
    ],
  });
  const api = await startApi({ cluster });
  t.teardown(() => api[Symbol.asyncDispose]());
  return { api, port, heard };
}

test('requests reach the pod: method, path, query, headers and body; what is the API server’s stays there', async (t) => {
  const { api, port, heard } = await opened(t);
  for (const name of ['p', `p:${port}`, `http:p:${port}`]) {
    const answer = await api.call('GET', `${base}/pods/${name}/proxy/a/b?c=d%20e`);
    t.deepEqual(
      [answer.status, answer.text, answer.headers['content-type']],
      [200, 'from the pod', 'text/x-web'],
      name,
    );
    t.like(heard.pop(), { method: 'GET', url: '/a/b?c=d%20e', body: '' });
  }
  for (const name of ['web:80', 'web:http', 'http:web:http'])
    t.is((await api.call('GET', `${base}/services/${name}/proxy`)).text, 'from the pod', name);
  t.is(heard.at(-1)?.url, '/');

  // a body of unknown length, with a method that mostly has none
  const sent = httpRequest({
    ...{ socketPath: api.socket, method: 'DELETE', path: `${base}/pods/p/proxy/thing` },
    headers: {
      authorization: 'Bearer secret',
      'impersonate-user': 'system:admin',
      'x-own': 'kept',
      connection: 'x-hop',
      'x-hop': '1',
      'transfer-encoding': 'chunked',
    },
  });
  sent.write('in ');
  sent.end('pieces');
  const [passed] = await once(sent, 'response');
  passed.resume();
  t.is(passed.statusCode, 200);
  const { headers, ...last } = heard.at(-1)!;
  t.deepEqual(last, { method: 'DELETE', url: '/thing', body: 'in pieces' });
  t.is(headers['x-own'], 'kept');
  for (const name of ['authorization', 'impersonate-user', 'x-hop']) t.false(name in headers, name);

  const moved = await api.call('GET', `${base}/pods/p/proxy/moved`);
  t.is(moved.headers['location'], `${base}/pods/p/proxy/there?x=1`);
  t.is((await api.call('HEAD', `${base}/pods/p/proxy/`)).status, 200);
});

test('what cannot be reached says why', async (t) => {
  const { api } = await opened(t);
  const refused = async (path: string) => {
    const { status, json } = await api.call('GET', `${base}/${path}`);
    return [status, json.message as string] as const;
  };
  const cases: readonly (readonly [string, number, RegExp])[] = [
    ['pods/absent/proxy/', 404, /"absent" not found/],
    ['pods/p:1/proxy/', 503, /error trying to reach port 1 of pod p/],
    ['pods/p:0/proxy/', 400, /port "0" is not valid/],
    ['pods/ftp:p:1/proxy/', 400, /expected NAME, NAME:PORT or SCHEME:NAME:PORT/],
    ['services/web/proxy/', 400, /a port must be named, it has http \(80\), dead \(81\)/],
    ['services/web:99/proxy/', 400, /there is no port "99"/],
    ['services/web:dead/proxy/', 503, /no endpoints available for service "web"/],
  ];
  for (const [path, status, message] of cases) {
    const [code, text] = await refused(path);
    t.is(code, status, path);
    t.regex(text, message, path);
  }
});
