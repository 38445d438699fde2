/** Columns of Node. */
import type { Node } from '../../../../kernel/contract/kubernetes.ts';
import { ageColumn, ageOf, nameColumn, orNone, table, text, wide } from './column.ts';

const rolePrefix = 'node-role.kubernetes.io/';

export const nodeColumns = table<Node>(
  [
    nameColumn,
    text('Status', 'Whether the node is ready, and takes new pods.'),
    text('Roles'),
    ageColumn,
    text('Version', 'Version of the node agent.'),
    wide(text('Internal-IP')),
    wide(text('External-IP')),
    wide(text('OS-Image')),
    wide(text('Kernel-Version')),
    wide(text('Container-Runtime')),
  ],
  (node, now) => {
    const info = node.status?.nodeInfo;
    return [
      node.metadata.name,
      statusText(node),
      rolesText(node),
      ageOf(node, now),
      info?.kubeletVersion ?? '',
      addressOf(node, 'InternalIP'),
      addressOf(node, 'ExternalIP'),
      info?.osImage === undefined || info.osImage === '' ? '<unknown>' : info.osImage,
      info?.kernelVersion === undefined || info.kernelVersion === '' ? '<unknown>' : info.kernelVersion,
      info?.containerRuntimeVersion === undefined || info.containerRuntimeVersion === ''
        ? '<unknown>'
        : info.containerRuntimeVersion,
    ];
  },
);

function statusText(node: Node): string {
  const ready = node.status?.conditions?.find((condition) => condition.type === 'Ready');
  const status = ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady';
  return node.spec?.unschedulable === true ? `${status},SchedulingDisabled` : status;
}

function rolesText(node: Node): string {
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(node.metadata.labels ?? {})) {
    if (key.startsWith(rolePrefix) && key.length > rolePrefix.length) roles.add(key.slice(rolePrefix.length));
    else if (key === 'kubernetes.io/role' && value !== '') roles.add(value);
  }
  return orNone([...roles].toSorted().join(','));
}

function addressOf(node: Node, type: string): string {
  return orNone(node.status?.addresses?.find((address) => address.type === type)?.address);
}
