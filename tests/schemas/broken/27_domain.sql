-- twin: the account in the unique index
-- finds: warning|27-unique-across-accounts|shop."By e-mail"
CREATE DOMAIN public.email AS text CHECK (VALUE LIKE '%@%');
ALTER TABLE shop.contact ADD email public.email;
CREATE UNIQUE INDEX "By e-mail" ON shop.contact (email) INCLUDE (name);
UPDATE shop.contact SET email = 'bob@b.example' WHERE id = 3;
-- A: UPDATE shop.contact SET email = 'bob@b.example' WHERE id = 1 RETURNING email
-- shows: 23505 duplicate key value violates unique constraint "By e-mail"
-- then: bob@b.example
