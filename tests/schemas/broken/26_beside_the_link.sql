-- A child's other references cannot hold the account, which it does not have.
-- finds: error|26-foreign-key-without-account|shop.line
-- by hand: ALTER TABLE shop.line DROP COLUMN other;
CREATE TABLE shop.line (id uuid PRIMARY KEY, contact_id int REFERENCES shop.contact,
    other int REFERENCES shop.booking, note text);
ALTER TABLE shop.line OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.line', via => 'contact_id');
