import test from 'ava';
import { attachmentConformance } from '../../kernel/conformance/attachment.ts';
import { openPtp } from '../../netplugins/attachments/ptp/ptp-attachment.ts';
import { attachmentBed } from './support/attachment-bed.ts';

attachmentConformance(test, {
  name: 'ptp',
  capabilities: ['ipv4', 'ipv6', 'host-ports', 'bandwidth'],
  open: (t) => attachmentBed(t, openPtp),
});
