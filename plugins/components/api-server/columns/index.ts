/** Columns of every built-in kind; kinds without any of their own show name and time of creation. */
import type { KubernetesObject, ResourceType } from '../../../../kernel/contract/index.ts';
import { administrationColumns } from './administration.ts';
import { nameColumn, table, type ColumnTable, type TableColumns } from './column.ts';
import { coreColumns } from './core.ts';
import { eventColumns } from './event.ts';
import { networkColumns } from './network.ts';
import { usageColumns } from './usage.ts';
import { workloadColumns } from './workloads.ts';

export type { Column, TableColumns } from './column.ts';

const plain = table<KubernetesObject>(
  [nameColumn, { name: 'Created At', type: 'date', description: 'Time of creation.' }],
  (object) => [object.metadata.name, object.metadata.creationTimestamp ?? '<unknown>'],
);

const known: ColumnTable = {
  ...coreColumns,
  ...workloadColumns,
  ...networkColumns,
  ...administrationColumns,
  ...usageColumns,
  'events.k8s.io/events': eventColumns,
};

export function columnsFor(type: Pick<ResourceType, 'group' | 'version' | 'resource'>): TableColumns {
  const found = known[`${type.group}/${type.version}/${type.resource}`] ?? known[`${type.group}/${type.resource}`];
  return (found as TableColumns | undefined) ?? plain;
}
