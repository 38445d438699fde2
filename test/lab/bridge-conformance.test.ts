import test from 'ava';
import { attachmentConformance } from '../../kernel/conformance/attachment.ts';
import { openBridge } from '../../netplugins/attachments/bridge/bridge-attachment.ts';
import { attachmentBed } from './support/attachment-bed.ts';

attachmentConformance(test, {
  name: 'bridge',
  capabilities: ['ipv4', 'ipv6', 'host-ports', 'bandwidth'],
  open: (t) => attachmentBed(t, (options) => openBridge({ ...options, bridge: 'cni0' })),
});
