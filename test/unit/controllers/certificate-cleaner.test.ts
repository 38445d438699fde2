import test from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import certificateCleaner from '../../../plugins/controllers/certificate-cleaner/index.ts';
import { expiry } from '../../../plugins/controllers/certificate-cleaner/expiry.ts';
import { issueAuthority } from '../../../plugins/components/api-server/pki/issue-certificate.ts';
import { certificateRequest } from '../certificate-request.ts';
import { eventually, find, openControlPlane } from './control-plane.ts';

const hour = 3600_000;
const createdMs = Date.UTC(2030, 0, 1);
const at = (ms: number) => new Date(createdMs + ms).toISOString();
const lifetimes = { finishedMs: hour, pendingMs: 24 * hour };
const condition = (type: string, hours: number) => ({ type, status: 'True', lastUpdateTime: at(hours * hour) });

test('when a request goes: an hour after its end, a day without one, and with its certificate', async (t) => {
  const { certificate } = await issueAuthority('test', 3 * hour, createdMs);
  const issued = Buffer.from(certificate).toString('base64');
  const cases: readonly [string, object | undefined, number][] = [
    ['pending', undefined, 24],
    ['approved, not signed', { conditions: [condition('Approved', 2)] }, 26],
    ['issued', { conditions: [condition('Approved', 1)], certificate: issued }, 2],
    ['issued late, ended since', { conditions: [condition('Approved', 9)], certificate: issued }, 3],
    ['issued something', { conditions: [condition('Approved', 1)], certificate: 'AAAA' }, 2],
    ['denied', { conditions: [condition('Denied', 2)] }, 3],
    ['approved, failed', { conditions: [condition('Approved', 1), condition('Failed', 2)] }, 3],
    ['denied at an unknown time', { conditions: [{ type: 'Denied', status: 'True' }] }, 1],
  ];
  for (const [title, status, hours] of cases) {
    const metadata = { name: 'a', creationTimestamp: at(0) };
    const request = { metadata, ...(status && { status }) } as never;
    t.is((expiry(request, lifetimes) - createdMs) / hour, hours, title);
  }
});

test('what is over goes, what waits stays', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const request = await certificateRequest('CN=a');
  const spec = { request, signerName: 'example.com/own', usages: ['client auth'] };
  for (const name of ['waits', 'denied']) {
    await cluster.create(resources.certificateSigningRequests, { metadata: { name }, spec });
  }
  const conditions = [{ type: 'Denied', status: 'True', lastUpdateTime: '2020-01-01T00:00:00Z' }];
  await cluster.patch(
    resources.certificateSigningRequests,
    { name: 'denied' },
    { kind: 'merge', body: { status: { conditions } } },
    { subresource: 'approval' },
  );
  await controller(certificateCleaner);
  const requests = resources.certificateSigningRequests;
  await eventually('its end', async () => (await find(cluster, requests, { name: 'denied' })) === undefined);
  t.truthy(await find(cluster, requests, { name: 'waits' }));
});
