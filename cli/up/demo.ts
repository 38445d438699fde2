/** The demo: a Deployment of web servers, a Service in front of it, and a pod that asks the Service twelve times. */
import type { Deployment, Pod, Service } from '../../kernel/contract/kubernetes.ts';
import type { NewObject } from '../../kernel/contract/index.ts';
import { waitFor, type ApiClient } from './api-client.ts';

export interface DemoResult {
  readonly pods: readonly { readonly name: string; readonly node: string; readonly ip: string }[];
  readonly serviceIp: string;
  /** The pod that answered, in the order of the requests. */
  readonly answers: readonly string[];
}

const requests = 12;
const labels = { app: 'demo' };

const serverProgram = `
const http = require('http');
const server = http.createServer((request, response) => {
  if (request.url !== '/ready') console.log(request.method + ' ' + request.url + ' from ' + request.socket.remoteAddress.replace('::ffff:', ''));
  response.end(process.env.POD_NAME + '\\n');
});
server.listen(8080);
process.on('SIGTERM', () => server.close(() => process.exit(0)));
`;

/** Every request is a new connection, so that the proxy chooses anew. */
const clientProgram = `
const http = require('http');
const ask = () => new Promise((resolve, reject) => {
  const request = http.get({ host: 'demo', port: 80, agent: false, timeout: 2000 }, (response) => {
    let text = '';
    response.on('data', (chunk) => (text += chunk));
    response.on('end', () => resolve(text.trim()));
  });
  request.on('timeout', () => request.destroy(new Error('no answer within 2 s')));
  request.on('error', reject);
});
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
(async () => {
  // A pod that has just become ready is behind the Service a moment later: wait until each has answered once.
  const seen = new Set();
  const begun = Date.now();
  while (seen.size < Number(process.env.REPLICAS) && Date.now() < begun + (seen.size > 0 ? 5000 : 30000)) {
    await ask().then((name) => seen.add(name), pause);
  }
  for (let count = 0; count < ${requests}; count += 1) console.log(await ask());
})().catch((error) => { console.error('demo client: ' + error.message); process.exit(1); });
`;

function deployment(node: string, replicas: number): NewObject<Deployment> {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'demo', labels },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          containers: [
            {
              name: 'web',
              image: 'host',
              command: [node, '-e', serverProgram],
              env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
              ports: [{ containerPort: 8080 }],
              readinessProbe: { httpGet: { path: '/ready', port: 8080 }, periodSeconds: 1 },
              resources: { requests: { cpu: '10m', memory: '32Mi' } },
            },
          ],
        },
      },
    },
  };
}

const service: NewObject<Service> = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'demo', labels },
  spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
};

function client(node: string, replicas: number): NewObject<Pod> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'demo-client', labels: { app: 'demo-client' } },
    spec: {
      restartPolicy: 'Never',
      containers: [
        {
          name: 'ask',
          image: 'host',
          command: [node, '-e', clientProgram],
          env: [{ name: 'REPLICAS', value: String(replicas) }],
        },
      ],
    },
  };
}

const base = '/api/v1/namespaces/default';

export async function deployDemo(api: ApiClient, replicas: number): Promise<void> {
  await api.create(`${base}/services`, service);
  await api.create('/apis/apps/v1/namespaces/default/deployments', deployment(process.execPath, replicas));
}

async function whyNotReady(api: ApiClient): Promise<string> {
  const { items } = await api.get<{ items: Pod[] }>(`${base}/pods`);
  const states = items.map((pod) => {
    const waiting = pod.status?.containerStatuses?.map(
      (each) => each.state?.waiting?.message ?? each.state?.waiting?.reason,
    );
    return `${pod.metadata.name} ${pod.status?.phase ?? 'Pending'} ${(waiting ?? []).filter(Boolean).join('; ')}`.trim();
  });
  return `the demo's pods are not ready: ${states.join(', ') || 'none was made'}`;
}

/** Waits until every replica is ready, then lets a pod ask the Service. */
export async function askDemo(api: ApiClient, replicas: number, signal: AbortSignal): Promise<DemoResult> {
  let why = 'the demo did not get ready';
  const limits = { timeoutMs: 60_000, signal, describe: () => why };
  const pods = await waitFor(async () => {
    const { items } = await api.get<{ items: Pod[] }>(`${base}/pods?labelSelector=app%3Ddemo`);
    const ready = items.filter((pod) =>
      pod.status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True'),
    );
    if (ready.length >= replicas) return ready;
    why = await whyNotReady(api);
    return undefined;
  }, limits);
  await api.create(`${base}/pods`, client(process.execPath, replicas));
  await waitFor(async () => {
    const pod = await api.get<Pod>(`${base}/pods/demo-client`);
    const phase = pod.status?.phase;
    if (phase === 'Succeeded' || phase === 'Failed') return phase;
    why = await whyNotReady(api);
    return undefined;
  }, limits);
  const log = await api.raw('GET', `${base}/pods/demo-client/log`);
  const found = await api.get<Service>(`${base}/services/demo`);
  return {
    pods: pods
      .map((pod) => ({ name: pod.metadata.name, node: pod.spec.nodeName ?? '', ip: pod.status?.podIP ?? '' }))
      .sort((a, b) => (a.node < b.node ? -1 : 1)),
    serviceIp: found.spec.clusterIP ?? '',
    answers: log.body.split('\n').filter((line) => line !== ''),
  };
}
