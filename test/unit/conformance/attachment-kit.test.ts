import test from 'ava';
import { attachmentConformance } from '../../../kernel/conformance/attachment.ts';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import type { AttachmentCapability } from '../../../kernel/contract/index.ts';
import { simulateAttachment, type AttachmentFlaw } from './simulated-attachment.ts';

const without: readonly AttachmentCapability[] = ['ipv4', 'ipv6'];
const withPorts: readonly AttachmentCapability[] = [...without, 'host-ports'];

async function failedCases(flaw: AttachmentFlaw | undefined, capabilities = without): Promise<string[]> {
  const { test: recorder, run } = recordCases(flaw === undefined ? { timeoutMs: 60_000 } : {});
  attachmentConformance(recorder, { name: 'x', capabilities, open: () => simulateAttachment(flaw, capabilities) });
  return (await run())
    .filter(({ outcome }) => outcome === 'failed')
    .map(({ title, failures }) => `${title}: ${failures.join('; ')}`);
}

test('the kit passes a sound attachment', async (t) => {
  t.deepEqual(await failedCases(undefined), []);
  t.deepEqual(await failedCases(undefined, withPorts), []);
});

const noticedBy: Readonly<Record<AttachmentFlaw, RegExp>> = {
  'ready too early': /ready once configured/,
  'one address for all': /address of the node range of its own/,
  'new address at each add': /adding a sandbox ten times/,
  'reuses an address at once': /freed address is not the next/,
  'never exhausted': /ADDRESSES_EXHAUSTED/,
  'host ports ignored': /host ports/,
  'capabilities misnamed': /names the capabilities/,
  'host port without hairpin': /from the sandbox itself/,
  'host port hides its client': /keeps its address/,
  'host port of all addresses': /that of no other/,
  'host port given twice': /refused until it is free/,
  'host port stays': /until it is gone/,
  'no masquerade': /takes an address of the node/,
  'pods masqueraded': /with their own addresses/,
  'remove leaves a trace': /removing leaves no trace/,
  'remove of unknown fails': /removing leaves no trace/,
  'remove keeps the record': /no longer reached/,
  'dispose disconnects': /dispose leaves sandboxes connected/,
  'forgets after restart': /a new instance knows them/,
  'gc removes all': /gc removes exactly/,
  'gc trusts a former boot': /after a reboot gc collects/,
  'check is blind': /check finds nothing/,
  'purge leaves a trace': /purge leaves the node/,
};

for (const [flaw, title] of Object.entries(noticedBy) as [AttachmentFlaw, RegExp][]) {
  test(`the kit notices: ${flaw}`, async (t) => {
    const failed = await failedCases(flaw, flaw.startsWith('host port ') ? withPorts : without);
    t.true(
      failed.some((one) => title.test(one)),
      `failed: ${failed.join('\n')}`,
    );
  });
}
