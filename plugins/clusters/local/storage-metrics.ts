/** The API's objects and its store, under kube-apiserver's names where there are such. */
import type { Store } from '../../../kernel/contract/index.ts';
import { histogramText } from '../../../kernel/machinery/metrics/histogram.ts';
import { metricText } from '../../../kernel/machinery/metrics/metric-text.ts';
import { qualifiedResource } from './api-errors.ts';
import type { Engine } from './engine.ts';

export function storageMetrics(engine: Engine, store: Pick<Store, 'status'>): string {
  const { revision, compacted, keys, sizeBytes, writable } = store.status();
  const objects = [...engine.catalog.storages()].map(({ type, collection }) => ({
    labels: { resource: qualifiedResource(type) },
    value: collection.tree.size,
  }));
  return [
    metricText('apiserver_storage_objects', 'gauge', 'Objects that are stored, by resource.', objects),
    metricText('apiserver_storage_size_bytes', 'gauge', 'Size of the store.', sizeBytes),
    histogramText(
      'etcd_request_duration_seconds',
      'How long writes take until the store has them for good and the state has seen them.',
      [{ labels: { operation: 'commit' }, histogram: engine.state.commitSeconds }],
    ),
    metricText('pintle_store_revision', 'gauge', 'The revision of the last write.', revision),
    metricText('pintle_store_compacted_revision', 'gauge', 'History before it is forgotten.', compacted),
    metricText('pintle_store_keys', 'gauge', 'Keys in the store.', keys),
    metricText('pintle_store_writable', 'gauge', '1 when the store takes writes.', writable ? 1 : 0),
  ].join('');
}
