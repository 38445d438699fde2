/** Defaults of the core group that depend on other fields or are not in the API table. */
import { child, children, ensure, fill, hasItems, isUnset, type Defaulter } from './defaulter.ts';
import { own, type JsonObject } from '../json-value.ts';

const domainPart = String.raw`(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])`;
const pathPart = String.raw`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`;
const imagePattern = new RegExp(
  String.raw`^(?:(?:${domainPart}(?:\.${domainPart})*|\[[a-fA-F0-9:]+\])(?::\d+)?/)?${pathPart}(?:/${pathPart})*(?::(\w[\w.-]{0,127}))?(@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`,
);

/** Always for the tag latest, named or implied; a digest or text that is no image name implies no tag. */
function pullPolicy(image: unknown): string {
  const match = imagePattern.exec(typeof image === 'string' ? image.slice(0, 1024) : '');
  if (!match) return 'IfNotPresent';
  const tag = match[1] ?? (match[2] === undefined ? 'latest' : '');
  return tag === 'latest' ? 'Always' : 'IfNotPresent';
}

const container: Defaulter = (object) => {
  fill(object, {
    imagePullPolicy: pullPolicy(object['image']),
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    resources: {},
  });
};

const defaultMode: Defaulter = (object) => fill(object, { defaultMode: 420 });

const podContainers = (spec: JsonObject | undefined): JsonObject[] => [
  ...children(spec, 'initContainers'),
  ...children(spec, 'containers'),
];

function hostPorts(spec: JsonObject): void {
  if (spec['hostNetwork'] !== true) return;
  for (const each of podContainers(spec)) {
    for (const port of children(each, 'ports')) {
      if (!port['hostPort'] && port['containerPort']) port['hostPort'] = port['containerPort'];
    }
  }
}

/** Only in pods, not in templates: a template keeps what its author wrote. */
const pod: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  for (const each of podContainers(spec)) {
    const resources = child(each, 'resources');
    const limits = child(resources, 'limits');
    if (!resources || !limits || !hasItems(limits)) continue;
    resources['requests'] = { ...limits, ...child(resources, 'requests') };
  }
  fill(spec, { enableServiceLinks: true });
  hostPorts(spec);
};

const podSpec: Defaulter = (object) => {
  fill(object, {
    dnsPolicy: 'ClusterFirst',
    restartPolicy: 'Always',
    securityContext: {},
    terminationGracePeriodSeconds: 30,
    schedulerName: 'default-scheduler',
  });
};

const volume: Defaulter = (object) => {
  // A volume without any source is an empty directory.
  if (Object.keys(object).every((key) => key === 'name' || object[key] === null)) object['emptyDir'] = {};
  const image = child(object, 'image');
  if (image && isUnset(image, 'pullPolicy')) image['pullPolicy'] = pullPolicy(image['reference']);
};

const service: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  fill(spec, { sessionAffinity: 'None', type: 'ClusterIP' });
  if (spec['sessionAffinity'] === 'None') delete spec['sessionAffinityConfig'];
  if (
    spec['sessionAffinity'] === 'ClientIP' &&
    !child(child(spec, 'sessionAffinityConfig'), 'clientIP')?.['timeoutSeconds']
  )
    spec['sessionAffinityConfig'] = { clientIP: { timeoutSeconds: 10_800 } };
  for (const port of children(spec, 'ports')) {
    fill(port, { protocol: 'TCP' });
    if (isUnset(port, 'targetPort') || port['targetPort'] === 0) port['targetPort'] = port['port'] ?? 0;
  }
  const { type } = spec;
  const isExternal =
    type === 'LoadBalancer' || type === 'NodePort' || (type === 'ClusterIP' && hasItems(own(spec, 'externalIPs')));
  if (isExternal) fill(spec, { externalTrafficPolicy: 'Cluster' });
  if (type === 'NodePort' || type === 'LoadBalancer' || type === 'ClusterIP')
    fill(spec, { internalTrafficPolicy: 'Cluster' });
  if (type === 'LoadBalancer') {
    fill(spec, { allocateLoadBalancerNodePorts: true });
    for (const ingress of children(child(child(object, 'status'), 'loadBalancer'), 'ingress'))
      if (ingress['ip']) fill(ingress, { ipMode: 'VIP' });
  }
};

const replicationController: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  const labels = child(child(child(spec, 'template'), 'metadata'), 'labels');
  if (!labels) return;
  if (!hasItems(own(spec, 'selector'))) spec['selector'] = { ...labels };
  const metadata = ensure(object, 'metadata');
  if (!hasItems(own(metadata, 'labels'))) metadata['labels'] = { ...labels };
};

const limitRangeItem: Defaulter = (object) => {
  if (object['type'] !== 'Container') return;
  const limit = { ...child(object, 'max'), ...child(object, 'default') };
  const request = { ...child(object, 'min'), ...limit, ...child(object, 'defaultRequest') };
  if (hasItems(limit)) object['default'] = limit;
  if (hasItems(request)) object['defaultRequest'] = request;
};

const namespace: Defaulter = (object) => {
  const metadata = ensure(object, 'metadata');
  if (metadata['name']) ensure(metadata, 'labels')['kubernetes.io/metadata.name'] = metadata['name'];
  fill(ensure(object, 'status'), { phase: 'Active' });
};

const endpointSubset: Defaulter = (object) => {
  for (const port of children(object, 'ports')) fill(port, { protocol: 'TCP' });
};

export const coreDefaults: Readonly<Record<string, Defaulter>> = {
  'core/v1.Container': container,
  'core/v1.EphemeralContainer': container,
  'core/v1.Pod': pod,
  'core/v1.PodSpec': podSpec,
  'core/v1.Volume': volume,
  'core/v1.Service': service,
  'core/v1.ReplicationController': replicationController,
  'core/v1.LimitRangeItem': limitRangeItem,
  'core/v1.Namespace': namespace,
  'core/v1.EndpointSubset': endpointSubset,
  'core/v1.SecretVolumeSource': defaultMode,
  'core/v1.ConfigMapVolumeSource': defaultMode,
  'core/v1.DownwardAPIVolumeSource': defaultMode,
  'core/v1.ProjectedVolumeSource': defaultMode,
  'core/v1.HostPathVolumeSource': (object) => {
    if (own(object, 'type') === undefined || object['type'] === null) object['type'] = '';
  },
  'core/v1.ServiceAccountTokenProjection': (object) => fill(object, { expirationSeconds: 3600 }),
  'core/v1.ObjectFieldSelector': (object) => fill(object, { apiVersion: 'v1' }),
  'core/v1.HTTPGetAction': (object) => fill(object, { path: '/', scheme: 'HTTP' }),
  'core/v1.Probe': (object) => {
    for (const [key, value] of [
      ['timeoutSeconds', 1],
      ['periodSeconds', 10],
      ['successThreshold', 1],
      ['failureThreshold', 3],
    ] as const)
      if (!object[key]) object[key] = value;
  },
  'core/v1.Secret': (object) => fill(object, { type: 'Opaque' }),
  'core/v1.PersistentVolume': (object) => {
    fill(ensure(object, 'status'), { phase: 'Pending' });
    fill(ensure(object, 'spec'), { persistentVolumeReclaimPolicy: 'Retain', volumeMode: 'Filesystem' });
  },
  'core/v1.PersistentVolumeClaim': (object) => {
    fill(ensure(object, 'status'), { phase: 'Pending' });
    ensure(object, 'spec');
  },
  'core/v1.PersistentVolumeClaimSpec': (object) => fill(object, { volumeMode: 'Filesystem' }),
  'core/v1.NodeStatus': (object) => {
    const capacity = child(object, 'capacity');
    if (capacity && !child(object, 'allocatable')) object['allocatable'] = { ...capacity };
  },
};
