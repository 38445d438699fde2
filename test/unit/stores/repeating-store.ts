import lmdb from '../../../plugins/stores/lmdb/index.ts';
import { withWatch } from './with-watch.ts';

/** The lmdb store, broken: its watches tell their first batch twice. */
export default withWatch(
  lmdb,
  (store) =>
    async function* (query, signal) {
      let isFirst = true;
      for await (const batch of store.watch(query, signal)) {
        if (isFirst) yield batch;
        isFirst = false;
        yield batch;
      }
    },
);
