/** A child process of the tests: opens the store in the folder that it is given and writes until it is killed. */
import { change, commit } from '../../../kernel/conformance/store/subject.ts';
import lmdb from '../../../plugins/stores/lmdb/index.ts';
import { startStore } from './start-store.ts';

const store = await startStore(lmdb, process.argv[2]!);
for (let value = 0; ; value++) process.send!(await commit(store, change(`k${value % 10}`, String(value))));
