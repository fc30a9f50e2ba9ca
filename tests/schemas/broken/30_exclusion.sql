-- twin: the account in the exclusion constraint
-- finds: warning|27-unique-across-accounts|shop."no overlap"
ALTER TABLE shop.booking ADD room text, ADD during int4range,
    ADD CONSTRAINT "no overlap" EXCLUDE USING gist (during WITH &&);
UPDATE shop.booking SET during = '[1,5)' WHERE id = 3;
-- A: INSERT INTO shop.booking (id, during) VALUES (9, '[2,3)') RETURNING id
-- shows: 23P01 conflicting key value violates exclusion constraint "no overlap"
-- then: 9
