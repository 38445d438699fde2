import test from 'ava';
import { capabilityFacts, type Selected } from '../../../bench/suites/selection.ts';

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
