import type { ConfigDefaults } from '../kernel/config/cluster-configuration.ts';

const named = (...names: readonly string[]): readonly { readonly name: string }[] => names.map((name) => ({ name }));

/** What a config file that says nothing means. */
export const defaults: ConfigDefaults = {
  cluster: {
    podCidrs: ['10.244.0.0/16'],
    serviceCidrs: ['10.96.0.0/12'],
    dnsDomain: 'cluster.local',
    dnsServiceIp: '10.96.0.10',
    nodes: 3,
  },
  use: {
    store: named('lmdb'),
    cluster: named('local', 'remote'),
    scheduler: named('spread'),
    controller: named(
      ...['deployment', 'replicaset', 'endpoint-slice', 'endpoints', 'node-ipam', 'node-lifecycle', 'namespace'],
      ...['garbage-collector', 'service-account'],
      'replication-controller',
      'daemon-set',
      'job',
      'cron-job',
      'stateful-set',
      'pod-disruption-budget',
      'horizontal-pod-autoscaler',
      'cluster-role-aggregation',
      'resource-quota',
      'persistent-volume',
      'volume-protection',
      'ephemeral-volume',
      'storage-class',
      'certificate-signing',
      'certificate-cleaner',
    ),
    runtime: named('process'),
    attachment: named('bridge'),
    overlay: named('vxlan'),
    proxy: named('nftables'),
    volume: named('local', 'host-path'),
    component: named(
      'api-server',
      'scheduler',
      'controller-manager',
      'node-agent',
      'service-proxy',
      'dns',
      'api-forwarder',
      'volume-provisioner',
    ),
  },
};
