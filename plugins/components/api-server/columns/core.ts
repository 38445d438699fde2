/** Columns of the core group, beside Pod, Node and Event. */
import type {
  ConfigMap,
  Endpoints,
  Namespace,
  PersistentVolume,
  PersistentVolumeClaim,
  PodTemplate,
  ReplicationController,
  ResourceQuota,
  Secret,
  Service,
  ServiceAccount,
} from '../../../../kernel/contract/kubernetes.ts';
import {
  ageColumn,
  ageOf,
  containerImages,
  containerNames,
  countOf,
  integer,
  labelsText,
  nameColumn,
  orNone,
  table,
  text,
  wide,
  type ColumnTable,
} from './column.ts';
import { eventColumns } from './event.ts';
import { nodeColumns } from './node.ts';
import { podColumns } from './pod.ts';

const accessModes: Readonly<Record<string, string>> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
};
const modesText = (modes: readonly string[] | undefined): string =>
  (modes ?? []).map((mode) => accessModes[mode] ?? mode).join(',');

/** At most three, as `kubectl get endpoints` shows them. */
export function fewOf(all: readonly string[]): string {
  if (all.length === 0) return '<none>';
  return all.length > 3 ? `${all.slice(0, 3).join(',')} + ${all.length - 3} more...` : all.join(',');
}

function endpointsText(endpoints: Endpoints): string {
  const all: string[] = [];
  for (const subset of endpoints.subsets ?? [])
    for (const port of subset.ports ?? [{ port: undefined }])
      for (const { ip } of subset.addresses ?? [])
        all.push(port.port === undefined ? ip : ip.includes(':') ? `[${ip}]:${port.port}` : `${ip}:${port.port}`);
  return fewOf(all);
}

function externalAddresses(service: Service): string {
  const given = service.spec?.externalIPs ?? [];
  switch (service.spec?.type) {
    case 'ExternalName':
      return orNone(service.spec.externalName);
    case 'LoadBalancer': {
      const assigned = (service.status?.loadBalancer?.ingress ?? []).map((entry) => entry.ip ?? entry.hostname ?? '');
      const all = [...assigned, ...given];
      return all.length === 0 ? '<pending>' : all.join(',');
    }
    default:
      return given.length === 0 ? '<none>' : given.join(',');
  }
}

function portsText(service: Service): string {
  const ports = (service.spec?.ports ?? []).map((port) => {
    const node = port.nodePort === undefined || port.nodePort === 0 ? '' : `:${port.nodePort}`;
    return `${port.port}${node}/${port.protocol ?? 'TCP'}`;
  });
  return ports.length === 0 ? '<none>' : ports.join(',');
}

function quotaText(quota: ResourceQuota, isLimit: boolean): string {
  const hard = quota.status?.hard ?? quota.spec?.hard ?? {};
  return Object.keys(hard)
    .filter((name) => name.startsWith('limits.') === isLimit)
    .toSorted()
    .map((name) => `${name}: ${quota.status?.used?.[name] ?? '0'}/${hard[name] ?? ''}`)
    .join(', ');
}

export const coreColumns: ColumnTable = {
  '/pods': podColumns,
  '/nodes': nodeColumns,
  '/events': eventColumns,
  '/configmaps': table<ConfigMap>([nameColumn, integer('Data', 'Number of entries.'), ageColumn], (map, now) => [
    map.metadata.name,
    countOf(map.data) + countOf(map.binaryData),
    ageOf(map, now),
  ]),
  '/secrets': table<Secret>(
    [nameColumn, text('Type'), integer('Data', 'Number of entries.'), ageColumn],
    (secret, now) => [secret.metadata.name, secret.type ?? '', countOf(secret.data), ageOf(secret, now)],
  ),
  '/namespaces': table<Namespace>([nameColumn, text('Status'), ageColumn], (namespace, now) => [
    namespace.metadata.name,
    namespace.status?.phase ?? '',
    ageOf(namespace, now),
  ]),
  '/serviceaccounts': table<ServiceAccount>([nameColumn, integer('Secrets'), ageColumn], (account, now) => [
    account.metadata.name,
    account.secrets?.length ?? 0,
    ageOf(account, now),
  ]),
  '/endpoints': table<Endpoints>([nameColumn, text('Endpoints'), ageColumn], (endpoints, now) => [
    endpoints.metadata.name,
    endpointsText(endpoints),
    ageOf(endpoints, now),
  ]),
  '/services': table<Service>(
    [
      nameColumn,
      text('Type'),
      text('Cluster-IP'),
      text('External-IP'),
      text('Port(s)'),
      ageColumn,
      wide(text('Selector')),
    ],
    (service, now) => [
      service.metadata.name,
      service.spec?.type ?? '',
      orNone(service.spec?.clusterIPs?.[0] ?? service.spec?.clusterIP),
      externalAddresses(service),
      portsText(service),
      ageOf(service, now),
      labelsText(service.spec?.selector),
    ],
  ),
  '/replicationcontrollers': table<ReplicationController>(
    [
      nameColumn,
      integer('Desired'),
      integer('Current'),
      integer('Ready'),
      ageColumn,
      wide(text('Containers')),
      wide(text('Images')),
      wide(text('Selector')),
    ],
    (controller, now) => [
      controller.metadata.name,
      controller.spec?.replicas ?? 0,
      controller.status?.replicas ?? 0,
      controller.status?.readyReplicas ?? 0,
      ageOf(controller, now),
      containerNames(controller.spec?.template),
      containerImages(controller.spec?.template),
      labelsText(controller.spec?.selector),
    ],
  ),
  '/podtemplates': table<PodTemplate>(
    [nameColumn, text('Containers'), text('Images'), text('Pod Labels')],
    (template) => [
      template.metadata.name,
      containerNames(template.template),
      containerImages(template.template),
      labelsText(template.template?.metadata?.labels),
    ],
  ),
  '/resourcequotas': table<ResourceQuota>([nameColumn, text('Request'), text('Limit'), ageColumn], (quota, now) => [
    quota.metadata.name,
    quotaText(quota, false),
    quotaText(quota, true),
    ageOf(quota, now),
  ]),
  '/persistentvolumes': table<PersistentVolume>(
    [
      nameColumn,
      text('Capacity'),
      text('Access Modes'),
      text('Reclaim Policy'),
      text('Status'),
      text('Claim'),
      text('StorageClass'),
      text('VolumeAttributesClass'),
      text('Reason'),
      ageColumn,
      wide(text('VolumeMode')),
    ],
    (volume, now) => {
      const claim = volume.spec?.claimRef;
      return [
        volume.metadata.name,
        volume.spec?.capacity?.['storage'] ?? '',
        modesText(volume.spec?.accessModes),
        volume.spec?.persistentVolumeReclaimPolicy ?? '',
        volume.metadata.deletionTimestamp === undefined ? (volume.status?.phase ?? '') : 'Terminating',
        claim === undefined ? '' : `${claim.namespace ?? ''}/${claim.name ?? ''}`,
        volume.spec?.storageClassName ?? '',
        volume.spec?.volumeAttributesClassName ?? '<unset>',
        volume.status?.reason ?? '',
        ageOf(volume, now),
        volume.spec?.volumeMode ?? '<unset>',
      ];
    },
  ),
  '/persistentvolumeclaims': table<PersistentVolumeClaim>(
    [
      nameColumn,
      text('Status'),
      text('Volume'),
      text('Capacity'),
      text('Access Modes'),
      text('StorageClass'),
      text('VolumeAttributesClass'),
      ageColumn,
      wide(text('VolumeMode')),
    ],
    (claim, now) => {
      const isBound = (claim.spec?.volumeName ?? '') !== '';
      return [
        claim.metadata.name,
        claim.metadata.deletionTimestamp === undefined ? (claim.status?.phase ?? '') : 'Terminating',
        claim.spec?.volumeName ?? '',
        isBound ? (claim.status?.capacity?.['storage'] ?? '') : '',
        isBound ? modesText(claim.status?.accessModes) : '',
        claim.spec?.storageClassName ?? '',
        claim.spec?.volumeAttributesClassName ?? '<unset>',
        ageOf(claim, now),
        claim.spec?.volumeMode ?? '<unset>',
      ];
    },
  ),
};
