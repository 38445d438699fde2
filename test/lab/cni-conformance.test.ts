import { existsSync } from 'node:fs';
import test from 'ava';
import { attachmentConformance } from '../../kernel/conformance/attachment.ts';
import { attachmentBed } from './support/attachment-bed.ts';
import { openCni } from './support/cluster.ts';

if (existsSync('/usr/lib/cni/ptp'))
  attachmentConformance(test, {
    name: 'cni',
    capabilities: ['ipv4', 'ipv6', 'host-ports', 'bandwidth'],
    open: (t) => attachmentBed(t, openCni),
  });
else test.skip('attachment cni: needs CNI executables, apt-get install containernetworking-plugins', () => undefined);
