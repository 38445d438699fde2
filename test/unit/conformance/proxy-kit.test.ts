import test from 'ava';
import { proxyConformance } from '../../../kernel/conformance/proxy.ts';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { simulateProxy, type ProxyFlaw } from './simulated-proxy.ts';

async function failedCases(flaw: ProxyFlaw | undefined, only?: RegExp): Promise<string[]> {
  const { test: recorder, run } = recordCases({ timeoutMs: flaw === undefined ? 60_000 : 20_000 });
  const capabilities = [
    'ipv4',
    'tcp',
    'udp',
    'sctp',
    'node-port',
    'affinity',
    'affinity-time-out',
    'source-ranges',
    'client-address',
    'outlives-agent',
    'explain',
  ] as const;
  proxyConformance(recorder, { name: 'x', capabilities, open: () => simulateProxy(flaw) });
  const results = await run((title) => only === undefined || only.test(title));
  return results
    .filter(({ outcome }) => outcome === 'failed')
    .map(({ title, failures }) => `${title}: ${failures.join('; ')}`);
}

test('the kit passes a sound proxy', async (t) => {
  t.deepEqual(await failedCases(undefined), []);
});

const noticedBy: Readonly<Record<ProxyFlaw, RegExp>> = {
  'only the first endpoint': /reach all endpoints/,
  'masquerades pods': /keeps its address/,
  'no hairpin': /reaches itself/,
  'protocols mixed': /ports and protocols/,
  'drops instead of refusing': /without endpoints refuses/,
  'uses unready endpoints': /terminating endpoints/,
  'ignores terminating endpoints': /terminating endpoints/,
  'ignores the internal policy': /internalTrafficPolicy/,
  'refuses for the local policy': /internalTrafficPolicy/,
  'no NodePort': /NodePort answers/,
  'no external addresses': /external and balancer/,
  'loses the client of a local policy': /externalTrafficPolicy Local keeps the client/,
  'local policy for pods too': /externalTrafficPolicy Local keeps to/,
  'ignores source ranges': /source ranges/,
  'source ranges for NodePorts': /source ranges/,
  'source ranges forget the node': /source ranges/,
  'no affinity': /affinity holds/,
  'affinity for ever': /affinity ends/,
  'one affinity for all clients': /each client for itself/,
  'sticks to gone endpoints': /affinity holds/,
  'always changes': /second identical sync/,
  'counts equal objects as changes': /second identical sync/,
  'keeps deleted Services': /come and go/,
  'UDP flows stay for ever': /UDP flows of an/,
  'UDP flows always move': /UDP flows of an/,
  'UDP flows that met nobody stay lost': /UDP flows to a NodePort/,
  'dispose flushes': /dispose leaves/,
  'restart flushes first': /dispose leaves/,
  'never repairs': /somebody else breaks/,
  'repairs without counting': /somebody else breaks/,
  'ready too early': /ready after a sync/,
  'purge leaves a trace': /purge removes/,
  'local policy forgets the terminating': /terminating endpoints/,
  'unknown ports are dropped': /port that the Service does not have/,
  'no SCTP': /SCTP reaches/,
  'SCTP by cluster address only': /SCTP reaches/,
  'SCTP of TCP endpoints': /SCTP Service is beside/,
  'routes unknown addresses away': /no Service has is refused/,
  'refuses whatever no Service has': /no Service has is refused/,
  'remembers addresses as unknown': /no Service has is refused/,
  'forgets the service range': /no Service has is refused/,
  'has no explain': /explain says/,
  'explains before it knows': /explain says/,
  'explains what is gone': /explain says/,
  'explains every address as served': /explain says/,
  'explains no unknown address': /explain says/,
  'explains unknown addresses by a Service': /explain says/,
  'explains without objects': /explain says/,
  'explains by objects that are gone': /explain says/,
  'explains without policies': /explain says/,
  'explains refusals as translations': /explain says/,
};

for (const [flaw, title] of Object.entries(noticedBy) as [ProxyFlaw, RegExp][]) {
  test(`the kit notices: ${flaw}`, async (t) => {
    // Only the case meant: others would wait in vain for what is broken. A draw may hide a flaw once, not three times.
    let failed: string[] = [];
    for (let round = 0; round < 3 && failed.length === 0; round += 1) failed = await failedCases(flaw, title);
    t.not(failed.length, 0);
  });
}
