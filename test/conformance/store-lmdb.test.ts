import test from 'ava';
import { storeConformance } from '../../kernel/conformance/store.ts';
import lmdb from '../../plugins/stores/lmdb/index.ts';
import { startStore } from '../unit/stores/start-store.ts';

storeConformance(test, {
  name: 'lmdb',
  capabilities: ['durable'],
  open: (folder) => startStore(lmdb, folder),
});

// Without the memory for recent values every read and watch goes to the file.
storeConformance(test, {
  name: 'lmdb without a cache',
  capabilities: ['durable'],
  open: (folder) => startStore(lmdb, folder, { cacheBytes: 0 }),
});
