import test from 'ava';
import { storeConformance } from '../../kernel/conformance/store.ts';
import memory from '../../plugins/stores/memory/index.ts';
import { startStore } from '../unit/stores/start-store.ts';

storeConformance(test, {
  name: 'memory',
  capabilities: [],
  open: (folder) => startStore(memory, folder),
});
