import test from 'ava';
import { capabilityFacts, families, numbers, type Selected } from '../../../bench/suites/selection.ts';

const plugin = (name: string, capabilities: readonly string[]): Selected => ({
  ...{ kind: 'proxy', name, config: {}, capabilities },
});

test('capabilities that all have are no difference; what one lacks is told of each', (t) => {
  const [one, two] = [plugin('one', ['tcp', 'udp', 'affinity']), plugin('two', ['tcp', 'udp'])];
  const factsOf = capabilityFacts([one, two]);
  t.deepEqual(factsOf(one), { 'capability affinity': true });
  t.deepEqual(factsOf(two), { 'capability affinity': false });
  t.deepEqual(capabilityFacts([one])(one), {});
});

test('dimensions: numbers within what a machine holds, families by name', (t) => {
  t.deepEqual(numbers('nodes', '1,500', '5', 1_000), [1, 500]);
  t.deepEqual(numbers('nodes', undefined, '5', 1_000), [5]);
  for (const text of ['0', '1.5', 'x', '1,', '1001', '1e9'])
    t.throws(() => numbers('nodes', text, '5', 1_000), { message: /--nodes is .* none above 1000/ }, text);
  t.deepEqual(families('ipv4,ipv6'), ['ipv4', 'ipv6']);
  t.deepEqual(families(undefined), ['ipv4']);
  t.throws(() => families('ipv5'), { message: /expected ipv4, ipv6 or both/ });
});
