import test from 'ava';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { DisposalStack } from '../../../kernel/registry/disposal-stack.ts';

test('disposes in reverse order, one after the other, once', async (t) => {
  const stack = new DisposalStack(1000);
  const journal: string[] = [];
  for (const name of ['a', 'b', 'c'])
    stack.push(name, async () => {
      journal.push(`${name} begins`);
      await Promise.resolve();
      journal.push(`${name} ends`);
    });
  await stack[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
  t.deepEqual(journal, ['c begins', 'c ends', 'b begins', 'b ends', 'a begins', 'a ends']);
});

test('attempts every disposal and gathers what threw, rejected or hung', async (t) => {
  const stack = new DisposalStack(20);
  const journal: string[] = [];
  stack.push('first', () => void journal.push('first'));
  stack.push('thrower', () => {
    throw new Error('boom');
  });
  stack.push('middle', () => void journal.push('middle'));
  stack.push('hanger', () => new Promise<void>(() => undefined));
  stack.push('rejecter', () => Promise.reject(new TypeError('no')));
  const error = await t.throwsAsync(async () => stack[Symbol.asyncDispose](), { code: 'PLUGIN_STOP_FAILED' });
  t.deepEqual(journal, ['middle', 'first']);
  t.true(isPintleError(error));
  if (!isPintleError(error)) return;
  t.deepEqual(error.details['plugins'], ['rejecter', 'hanger', 'thrower']);
  t.regex(error.message, /rejecter: no; hanger: hanger did not stop within 20 ms; thrower: boom/);
  t.true(error.cause instanceof AggregateError);
  t.is((error.cause as AggregateError).errors.length, 3);
});

test('nothing can be pushed after the disposal', async (t) => {
  const stack = new DisposalStack(1000);
  await stack[Symbol.asyncDispose]();
  t.throws(() => stack.push('late', () => undefined), { message: /late/ });
});
