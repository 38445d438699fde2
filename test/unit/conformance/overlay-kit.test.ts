import test from 'ava';
import { overlayConformance } from '../../../kernel/conformance/overlay.ts';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { simulateOverlay, type OverlayFlaw } from './simulated-overlay.ts';

async function failedCases(flaw: OverlayFlaw | undefined): Promise<string[]> {
  const { test: recorder, run } = recordCases();
  overlayConformance(recorder, { name: 'x', capabilities: ['ipv4'], open: () => simulateOverlay(flaw) });
  return (await run())
    .filter(({ outcome }) => outcome === 'failed')
    .map(({ title, failures }) => `${title}: ${failures.join('; ')}`);
}

test('the kit passes a sound overlay', async (t) => {
  t.deepEqual(await failedCases(undefined), []);
});

const noticedBy: Readonly<Record<OverlayFlaw, RegExp>> = {
  'never repairs': /repaired within two seconds/,
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
