-- The migration that puts every table under account isolation and audit.

GRANT tenant_guard_admin TO chat_owner;
GRANT tenant_guard_auditor TO chat_auditor;

SET ROLE chat_owner;
SELECT tenant_guard.protect('chat.accounts', 'id', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.users', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.widgets', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.contacts', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.conversations', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.messages', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.leads', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.bookings', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.files', roles => '{chat_app}');
SELECT tenant_guard.protect('chat.delivery_channels', roles => '{chat_app, chat_delivery}',
                            redact => '{credential}');
RESET ROLE;
