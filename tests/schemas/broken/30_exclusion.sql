-- finds: warning|27-unique-across-accounts|shop."no overlap"
ALTER TABLE shop.booking ADD room text, ADD during int4range,
    ADD CONSTRAINT "no overlap" EXCLUDE USING gist (during WITH &&);
