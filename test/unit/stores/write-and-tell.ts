/** A child process of the tests: commits once, then 64 times at once, saying before and after in system calls that a trace shows. */
import { writeSync } from 'node:fs';
import { change, commit } from '../../../kernel/conformance/store/subject.ts';
import lmdb from '../../../plugins/stores/lmdb/index.ts';
import { startStore } from './start-store.ts';

const store = await startStore(lmdb, process.argv[2]!);
writeSync(1, 'committing\n');
await commit(store, change('a', '1'));
writeSync(1, 'acknowledged\n');
writeSync(1, 'many\n');
const revisions = await Promise.all(Array.from({ length: 64 }, (_, key) => commit(store, change(`k${key}`, 'x'))));
writeSync(1, `got ${new Set(revisions).size} revisions\n`);
await store[Symbol.asyncDispose]();
