-- finds: warning|69-schema-owner-can-log-in|shop
ALTER SCHEMA shop OWNER TO APP;
