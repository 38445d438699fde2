import lmdb from '../../../plugins/stores/lmdb/index.ts';
import { withWatch } from './with-watch.ts';

/** The lmdb store, broken: its watches begin one revision too late, as if the first change had been told. */
export default withWatch(
  lmdb,
  (store) =>
    async function* ({ prefix, after }, signal) {
      for await (const batch of store.watch({ prefix, after }, signal))
        yield { ...batch, events: batch.events.filter(({ revision }) => revision !== after + 1) };
    },
);
