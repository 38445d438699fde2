import test from 'ava';
import { overlayConformance, type OwnedObject } from '../../../kernel/conformance/overlay.ts';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { simulateOverlay, type OverlayFlaw } from './simulated-overlay.ts';

async function failedCases(flaw: OverlayFlaw | undefined, untried?: OwnedObject): Promise<string[]> {
  const { test: recorder, run } = recordCases(flaw === undefined ? { timeoutMs: 60_000 } : {});
  overlayConformance(recorder, { name: 'x', capabilities: ['ipv4'], open: () => simulateOverlay(flaw, untried) });
  return (await run())
    .filter(({ outcome }) => outcome === 'failed')
    .map(({ title, failures }) => `${title}: ${failures.join('; ')}`);
}

test('the kit passes a sound overlay', async (t) => {
  t.deepEqual(await failedCases(undefined), []);
});

const noticedBy: Readonly<Record<OverlayFlaw, RegExp>> = {
  'never repairs': /repaired within two seconds/,
  'repairs deletions only': /repaired within two seconds/,
  'repairs traffic and not the MAC': /repaired within two seconds.*mac changed: as it was before/,
  'stays at its former address': /another underlay address/,
  'forgets where peers moved': /another underlay address/,
  'forgets peers when it joins': /does not know the peers yet/,
  'repairs before it knows the peers': /does not know the peers yet.*after mtu changed/,
  'repairs without counting': /repaired within two seconds/,
  'counts its own changes': /its own changes are not/,
  'keeps peers that are gone': /exactly the given peers/,
  'always changes': /second identical sync/,
  'changes by order': /second identical sync/,
  'MTU too large': /large transfers/,
  masquerades: /with their own addresses/,
  'other annotations after a restart': /takes it over without a change/,
  'dispose cuts': /dispose leaves the data path/,
  'leave forgets the device': /leave removes every trace/,
  'leave twice fails': /leave removes every trace/,
  'takes peers without annotations': /left out and reported/,
  'hides refused peers': /left out and reported/,
  'ready before join': /ready after join/,
};

for (const [flaw, title] of Object.entries(noticedBy) as [OverlayFlaw, RegExp][]) {
  test(`the kit notices: ${flaw}`, async (t) => {
    const failed = await failedCases(flaw);
    t.true(
      failed.some((one) => title.test(one)),
      `failed: ${failed.join('\n')}`,
    );
  });
}

test('the kit notices a bed that leaves out a kind of object', async (t) => {
  const [failed = '', ...more] = await failedCases(undefined, 'mac');
  t.regex(failed, /repaired within two seconds.*every kind of object in every way/);
  t.deepEqual(more, []);
});
