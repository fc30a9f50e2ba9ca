-- twin: the subscription
-- finds: info|35-subscription|inbound
-- by hand: ALTER SUBSCRIPTION inbound SET (slot_name = NONE); DROP SUBSCRIPTION inbound;
CREATE SUBSCRIPTION inbound CONNECTION 'dbname=elsewhere password=secret' PUBLICATION p
    WITH (connect = false);
ALTER SUBSCRIPTION inbound SET (slot_name = 'none_yet');
ALTER SUBSCRIPTION inbound ENABLE;
-- cannot be shown: what arrives comes over a replication connection from another server, and fails
