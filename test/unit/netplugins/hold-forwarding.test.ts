import test from 'ava';
import type { Logger } from '../../../kernel/contract/index.ts';
import type { HeldSettings } from '../../../netplugins/linux/held-settings.ts';
import { keepForwarding } from '../../../netplugins/linux/pods/hold-forwarding.ts';

test('a setting that cannot be put right is told, and does not end the agent', (t) => {
  const told: string[] = [];
  const log = {
    warn: (text: string, fields: object) => told.push(`${text} ${JSON.stringify(fields)}`),
  } as unknown as Logger;
  const held: string[] = [];
  const settings = {
    hold(name: string, value: number) {
      held.push(`${name}=${value}`);
      if (name === 'net.ipv4.ip_forward') throw new Error('read-only here');
      return false;
    },
  } as unknown as HeldSettings;
  keepForwarding(settings, ['10.244.0.0/24'], log);
  t.deepEqual(held, ['net.ipv4.conf.all.send_redirects=0', 'net.ipv4.ip_forward=1']);
  t.deepEqual(told, [
    'Settings that pods need have been changed by somebody else, and cannot be put right {"error":"read-only here"}',
  ]);
});
