import type { CatalogueEntry } from '../kernel/registry/catalogue.ts';

/** Every plugin that comes with Pintle. The code of one is loaded when a config chooses it, for the process it runs in. */
export const builtIns: readonly CatalogueEntry[] = [
  {
    kind: 'store',
    name: 'memory',
    summary: 'Keeps the cluster state in memory: fast, and gone when the server ends',
    load: () => import('../plugins/stores/memory/index.ts'),
  },
  {
    kind: 'store',
    name: 'lmdb',
    summary: 'Keeps the cluster state in a file: durable, for one server',
    load: () => import('../plugins/stores/lmdb/index.ts'),
  },
  {
    kind: 'cluster',
    name: 'local',
    role: 'server',
    summary: 'The Kubernetes API in this process, on the store',
    load: () => import('../plugins/clusters/local/index.ts'),
  },
  {
    kind: 'scheduler',
    name: 'spread',
    summary: 'Puts pods on the nodes with the most room',
    load: () => import('../plugins/schedulers/spread/index.ts'),
  },
  {
    kind: 'scheduler',
    name: 'binpack',
    summary: 'Fills nodes up before it uses the next',
    load: () => import('../plugins/schedulers/binpack/index.ts'),
  },
  {
    kind: 'attachment',
    name: 'bridge',
    summary: 'Pods on a bridge of the node, every packet routed by the node',
    load: () => import('../netplugins/attachments/bridge/index.ts'),
  },
  {
    kind: 'component',
    name: 'api-server',
    role: 'server',
    summary: 'The Kubernetes API over HTTPS and a unix socket',
    load: () => import('../plugins/components/api-server/index.ts'),
  },
  {
    kind: 'component',
    name: 'scheduler',
    role: 'server',
    summary: 'Assigns pods to nodes, as the scheduling policies judge',
    load: () => import('../plugins/components/scheduler/index.ts'),
  },
  {
    kind: 'component',
    name: 'controller-manager',
    role: 'server',
    summary: 'Runs the configured controllers and starts again those that stop',
    load: () => import('../plugins/components/controller-manager/index.ts'),
  },
  {
    kind: 'component',
    name: 'node-agent',
    role: 'node',
    summary: 'Registers the node and runs its pods through runtime, attachment and overlay',
    load: () => import('../plugins/components/node-agent/index.ts'),
  },
  {
    kind: 'component',
    name: 'service-proxy',
    role: 'node',
    summary: 'Keeps the proxy in step with Services and EndpointSlices',
    load: () => import('../plugins/components/service-proxy/index.ts'),
  },
  {
    kind: 'component',
    name: 'dns',
    role: 'node',
    summary: 'Answers the names of Services and pods on every node, and asks upstream for the rest',
    load: () => import('../plugins/components/dns/index.ts'),
  },
];
